package compose

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/perch-k8s/perch/internal/fault"
)

// The names of Compose files in the order in which docker compose prefers them.
func fileNames() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
}

func overrideNames() []string {
	return []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
}

// locate finds the files to read: those of -f, of COMPOSE_FILE, or the nearest compose.yaml upwards and its override.
func locate(o Options, env map[string]string) ([]string, error) {
	if len(o.Files) > 0 {
		return o.Files, nil
	}
	if list := env["COMPOSE_FILE"]; list != "" {
		separator := env["COMPOSE_PATH_SEPARATOR"]
		if separator == "" {
			separator = string(os.PathListSeparator)
		}
		return strings.Split(list, separator), nil
	}
	start := o.ProjectDir
	if start == "" {
		start = o.WorkingDir
	}
	start = absolute(o.WorkingDir, start)
	for dir := start; ; dir = filepath.Dir(dir) {
		if file := firstFile(dir, fileNames()); file != "" {
			files := []string{file}
			if extra := firstFile(dir, overrideNames()); extra != "" {
				files = append(files, extra)
			}
			return files, nil
		}
		if filepath.Dir(dir) == dir {
			return nil, fault.New(fault.ComposeFile,
				"write a compose.yaml here, change to the project's folder, or name the file with -f",
				"no compose.yaml in %s or any folder above it", start)
		}
	}
}

func firstFile(dir string, names []string) string {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return ""
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// readMain reads the main files. All that cannot be read are told at once.
func readMain(o Options, files []string, f *findings) (sources, error) {
	var read sources
	for i, file := range files {
		s := &source{order: i, main: true, override: i > 0}
		var err error
		if file == "-" {
			s.path, s.shown = "-", "<stdin>"
			if o.Stdin == nil {
				return nil, fault.New(fault.Usage, "pipe a Compose file into the command", "-f -: there is no standard input")
			}
			s.content, err = readLimited(o.Stdin, largestFile)
		} else {
			s.path = absolute(o.WorkingDir, file)
			s.shown = shown(o.WorkingDir, s.path, file)
			s.content, err = readMainFile(s.path)
		}
		if err != nil {
			f.problem(position{file: s.shown, order: i}, "cannot be read: "+reason(err), readHint(err))
			continue
		}
		read = append(read, s)
	}
	return read, nil
}

// shown is how messages name a file: as the user did, else relative to the working directory.
func shown(dir, path, given string) string {
	if given != "" && !filepath.IsAbs(given) {
		return given
	}
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}

// reason is the cause of a file error without the path, which the message has already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func readHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "check the path; it is relative to the working directory"
	case errors.Is(err, fs.ErrPermission):
		return "make it readable for the user that runs perch"
	}
	return ""
}

// projectDir is the folder that relative paths of the project start from.
func projectDir(o Options, files []string) string {
	if o.ProjectDir != "" {
		return absolute(o.WorkingDir, o.ProjectDir)
	}
	for _, file := range files {
		if file != "-" {
			return filepath.Dir(absolute(o.WorkingDir, file))
		}
	}
	return filepath.Clean(o.WorkingDir)
}

// withEnvFiles is env with what the env files of the project add to it. A variable of env wins, as in docker compose.
func withEnvFiles(o Options, dir string, env map[string]string, f *findings) map[string]string {
	files := o.EnvFiles
	if len(files) == 0 && env["COMPOSE_ENV_FILES"] != "" {
		files = strings.Split(env["COMPOSE_ENV_FILES"], ",")
	}
	if len(files) == 0 {
		disabled, _ := strconv.ParseBool(env["COMPOSE_DISABLE_ENV_FILE"])
		file := firstFile(dir, []string{".env"})
		if disabled || file == "" {
			return env
		}
		files = []string{file}
	}
	merged := maps.Clone(env)
	for i, file := range files {
		path := absolute(o.WorkingDir, strings.TrimSpace(file))
		at := position{file: shown(o.WorkingDir, path, ""), order: i - len(files)}
		content, err := readFile(path, largestFile)
		if err != nil {
			f.problem(at, "env file cannot be read: "+reason(err), readHint(err))
			continue
		}
		values, err := dotenv.ParseWithLookup(strings.NewReader(string(content)), func(name string) (string, bool) {
			return merged[name], true // a variable that is not set is empty, and no reason to print something
		})
		if err != nil {
			at.line = dotenvLine(err, content)
			f.problem(at, "env file: "+dotenvReason(err), dotenvHint)
			continue
		}
		for name, value := range values {
			if _, given := env[name]; !given {
				merged[name] = value
			}
		}
	}
	return merged
}

const dotenvHint = "write NAME=value, one a line; quote values with spaces or #"

var dotenvPlace = regexp.MustCompile(`line (\d+): (unexpected character "[^"]*" in variable name|unterminated quoted value|key cannot contain a space)`)

// dotenvLine is the line of a mistake in an env file. For a quote that is not closed, the parser counts to the end.
func dotenvLine(err error, content []byte) int {
	m := dotenvPlace.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	if _, value, ok := strings.Cut(err.Error(), "unterminated quoted value "); ok {
		for i, line := range strings.Split(string(content), "\n") {
			if strings.HasSuffix(line, value) {
				return i + 1
			}
		}
	}
	line, _ := strconv.Atoi(m[1])
	return line
}

// dotenvReason is what is wrong with an env file, without the text of the line: that may be a secret.
func dotenvReason(err error) string {
	if m := dotenvPlace.FindStringSubmatch(err.Error()); m != nil {
		return m[2]
	}
	return "not a list of NAME=value"
}

// baseEnvironment is a copy of the caller's environment. It is never nil and never the caller's own map, since
// compose-go writes into it.
func baseEnvironment(o Options) map[string]string {
	env := make(map[string]string, len(o.Environment))
	maps.Copy(env, o.Environment)
	return env
}
