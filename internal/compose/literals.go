package compose

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"go.yaml.in/yaml/v4"
)

// Literal is a sensitive value that stands in a file, instead of being given by a variable.
type Literal struct {
	File string // absolute
	Line int    // 1 is the first
	Name string // of the variable, or the path of the value, as services.web.command
	Path string // of the place in a Compose file; "" in an env file
}

// Literals are the sensitive values in the Compose files and in the env files that they and o name, in order of files and
// lines. A default, as in ${PASSWORD:-x}, is one too. No variable has a value meanwhile, so nothing is decrypted for it.
func Literals(ctx context.Context, o Options) ([]Literal, error) {
	o.Secrets, o.Target = nil, ""
	all, targets, err := literalsOf(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, o.Target = range targets { // each has files of its own
		more, _, err := literalsOf(ctx, o)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	slices.SortFunc(all, func(a, b Literal) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path))
	})
	return slices.CompactFunc(all, func(a, b Literal) bool { return a.File == b.File && a.Line == b.Line && a.Name == b.Name }), nil
}

// literalsOf are those that count for one target, and the names of all targets.
func literalsOf(ctx context.Context, o Options) (all []Literal, targets []string, err error) {
	r := &reading{options: o}
	if err := r.read(ctx); err != nil {
		return nil, nil, err
	}
	if r.shape == nil {
		return nil, nil, r.problems.sorted()
	}
	files := []string{filepath.Join(r.dir, ".env")}
	for _, file := range o.EnvFiles {
		files = append(files, absolute(o.WorkingDir, file))
	}
	for _, s := range r.files {
		if !filepath.IsAbs(s.path) {
			continue // standard input
		}
		l := literals{source: s, nothing: interpolator{env: map[string]string{}}}
		for _, doc := range s.docs {
			l.walk(doc, nil)
		}
		all = append(all, l.found...)
		files = append(files, l.envFiles...)
	}
	for _, file := range files {
		all = append(all, literalsOfEnv(file)...)
	}
	return all, sortedNames(r.targets), nil
}

// literals looks through one Compose file.
type literals struct {
	source   *source
	nothing  interpolator
	found    []Literal
	envFiles []string
}

func (l *literals) walk(n *yaml.Node, path []string) {
	switch n.Kind {
	case yaml.AliasNode:
		if slices.ContainsFunc(path, ofVariables) { // else it was looked at where the anchor is
			l.walk(n.Alias, path)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			below := append(slices.Clone(path), n.Content[i].Value)
			if n.Content[i].Value == "<<" {
				below = path
			}
			l.walk(n.Content[i+1], below)
		}
	case yaml.SequenceNode:
		l.list(n, path)
		for i, one := range n.Content {
			l.walk(one, append(slices.Clone(path), strconv.Itoa(i)))
		}
	case yaml.ScalarNode:
		l.scalar(n, path)
	}
}

// list looks at the words of a command together: a password may be known by the one before it.
func (l *literals) list(n *yaml.Node, path []string) {
	var words []string
	for _, one := range n.Content {
		if one.Kind != yaml.ScalarNode {
			return
		}
		words = append(words, l.nothing.text(one))
	}
	if line := strings.Join(words, " "); len(passwordsIn(line)) > 0 && !slices.ContainsFunc(words, func(word string) bool { return len(passwordsIn(word)) > 0 }) {
		l.add(n, pathString(path), path)
	}
}

func (l *literals) scalar(n *yaml.Node, path []string) {
	if len(path) == 0 {
		return
	}
	parent := func(up int) string {
		if len(path) < up+1 {
			return ""
		}
		return path[len(path)-1-up]
	}
	value := l.nothing.text(n)
	name, variable := "", ofVariables(parent(1))
	switch {
	case parent(0) == "env_file", parent(1) == "env_file", parent(0) == "path" && parent(2) == "env_file":
		l.envFiles = append(l.envFiles, absolute(l.source.dir, l.source.vars.text(n)))
		return
	case path[0] == "secrets" && parent(0) == "environment":
		return // the name of a variable
	case variable && isIndex(parent(0)):
		name, value, _ = strings.Cut(value, "=")
	case variable:
		name = parent(0)
	}
	if variable && Sensitive(name, value) && !harmless.MatchString(value) {
		l.add(n, name, path)
		return
	}
	if len(passwordsIn(value)) > 0 {
		l.add(n, pathString(path), path)
	}
}

// ofVariables tells whether a key has names and values below it.
func ofVariables(key string) bool { return key == "environment" || key == "args" }

// harmless are values under the name of a secret that are none: a switch, a number of things, nothing.
var harmless = regexp.MustCompile(`^(?i:|true|false|yes|no|on|off|none|null|[0-9]{1,4})$`)

func (l *literals) add(n *yaml.Node, name string, path []string) {
	l.found = append(l.found, Literal{File: l.source.path, Line: n.Line, Name: name, Path: pathString(path)})
}

var envLine = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[=:]`)

// literalsOfEnv are those of an env file; none when it cannot be read.
func literalsOfEnv(file string) []Literal {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	values, err := dotenv.ParseWithLookup(strings.NewReader(string(data)), func(string) (string, bool) { return "", true })
	if err != nil {
		return nil
	}
	var all []Literal
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		m := envLine.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if value, ok := values[m[1]]; ok && Sensitive(m[1], value) && !harmless.MatchString(value) {
			all = append(all, Literal{File: file, Line: line, Name: m[1]})
		}
	}
	return all
}
