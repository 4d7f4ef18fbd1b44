package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"
)

// largestObject is how much the API server takes in one ConfigMap or Secret.
const largestObject = 1 << 20

// environments resolves environment and env_file of every service, hook and job. compose-go does it for services and
// ends at the first file that is missing, so each is given to it alone.
func (r *reading) environments() {
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		path := []string{"services", name}
		if !r.envFilesExist(s.ContainerSpec, path) {
			continue
		}
		resolved, ok := r.resolveEnvironment(s, path)
		if ok {
			r.project.Project.Services[name] = resolved
			r.checkEnvironment(resolved.Environment, path)
		}
	}
	for _, name := range sortedNames(r.project.Jobs) {
		j := r.project.Jobs[name]
		path := []string{"jobs", name}
		if !r.envFilesExist(j.ContainerSpec, path) {
			continue
		}
		resolved, ok := r.resolveEnvironment(types.ServiceConfig{Name: name, ContainerSpec: j.ContainerSpec}, path)
		if ok {
			j.ContainerSpec = resolved.ContainerSpec
			r.project.Jobs[name] = j
			r.checkEnvironment(j.Environment, path)
		}
	}
}

// envFilesExist tells whether the files that a container reads variables and labels from are there and can be read.
func (r *reading) envFilesExist(c types.ContainerSpec, path []string) bool {
	good := true
	for i, file := range c.EnvFiles {
		good = r.envFile(file.Path, file.Format, bool(file.Required), path, "env_file", i) && good
	}
	for i, file := range c.LabelFiles {
		good = r.envFile(file, "", true, path, "label_file", i) && good
	}
	return good
}

func (r *reading) envFile(file, format string, required bool, path []string, key string, i int) bool {
	content, err := readFile(file, largestFile)
	switch {
	case err != nil && !required && os.IsNotExist(err):
		return true
	case err != nil:
		hint := "create the file"
		if key == "env_file" {
			hint = "create the file, or write required: false beside its path"
		}
		at := r.files.find(append(slices.Clone(path), key, strconv.Itoa(i))...)
		r.problem(at, fmt.Sprintf("%s%s %s: %s", subject(path), key, r.relative(file), reason(err)), hint)
		return false
	}
	err = dotenv.ParseWithFormat(bytes.NewReader(content), file, map[string]string{}, func(string) (string, bool) { return "", true }, format)
	if err != nil {
		at := position{file: shown(r.options.WorkingDir, file, ""), order: len(r.files), line: dotenvLine(err, content)}
		r.problem(at, fmt.Sprintf("%s of %s: %s", key, strings.TrimSuffix(subject(path), ": "), dotenvReason(err)), dotenvHint)
	}
	return err == nil
}

func (r *reading) relative(path string) string { return shown(r.dir, path, "") }

func (r *reading) resolveEnvironment(s types.ServiceConfig, path []string) (types.ServiceConfig, bool) {
	one := types.Project{Environment: r.env, Services: types.Services{s.Name: s}}
	resolved, err := one.WithServicesEnvironmentResolved(false)
	if err == nil {
		resolved, err = resolved.WithServicesLabelsResolved(false)
	}
	if err != nil {
		at := r.files.find(append(slices.Clone(path), "env_file")...)
		r.problem(at, subject(path)+"an env file is not understood: "+dotenvReason(err), dotenvHint)
		return s, false
	}
	return resolved.Services[s.Name], true
}

// checkEnvironment refuses what Kubernetes cannot hold as variables.
func (r *reading) checkEnvironment(environment types.MappingWithEquals, path []string) {
	size := 0
	for _, name := range sortedNames(environment) {
		value := environment[name]
		at := append(slices.Clone(path), "environment", name)
		if !validVariable(name) {
			r.problem(r.files.find(at...), fmt.Sprintf("%s%q cannot be the name of a variable in Kubernetes", subject(path), name),
				"use letters, digits, underscores, dots and hyphens")
		}
		if value != nil {
			size += len(name) + len(*value)
		}
	}
	if size > largestObject {
		r.problem(r.files.find(append(slices.Clone(path), "environment")...),
			fmt.Sprintf("%senvironment is %d bytes; Kubernetes holds 1 MiB", subject(path), size), "move big values into configs: or secrets:")
	}
}

// validVariable is the rule for keys of ConfigMaps, which variables are made of.
func validVariable(name string) bool {
	if name == "" || len(name) > 253 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		if !isWordByte(c) && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// fileObjects reads what the secrets and configs hold that a service or job mounts.
func (r *reading) fileObjects() {
	p := r.project
	p.SecretData, p.ConfigData, p.ExecutableConfig = map[string][]byte{}, map[string][]byte{}, map[string]bool{}
	secrets, configs := map[string]bool{}, map[string]bool{}
	for _, c := range r.containers() {
		for _, s := range c.Secrets {
			secrets[s.Source] = true
		}
		for _, s := range c.Configs {
			configs[s.Source] = true
		}
	}
	for _, name := range sortedNames(p.Project.Secrets) {
		r.oneSource(types.FileObjectConfig(p.Project.Secrets[name]), []string{"secrets", name}, "file: or environment:")
	}
	for _, name := range sortedNames(p.Project.Configs) {
		r.oneSource(types.FileObjectConfig(p.Project.Configs[name]), []string{"configs", name}, "file:, content: or environment:")
	}
	for _, name := range sortedNames(secrets) {
		if def, ok := p.Secrets[name]; ok {
			if data, ok := r.fileObject(types.FileObjectConfig(def), []string{"secrets", name}); ok {
				p.SecretData[name] = data
			}
		}
	}
	for _, name := range sortedNames(configs) {
		if def, ok := p.Configs[name]; ok {
			if data, ok := r.fileObject(types.FileObjectConfig(def), []string{"configs", name}); ok {
				p.ConfigData[name] = data
				p.ExecutableConfig[name] = executable(def.File)
			}
		}
	}
}

// executable tells whether a file can be executed by anyone. Docker mounts the file of a config as it is, so a script stays one.
func executable(file string) bool {
	info, err := os.Stat(file)
	return file != "" && err == nil && info.Mode().Perm()&0o111 != 0
}

// oneSource checks that a secret or config says once where its content comes from.
func (r *reading) oneSource(def types.FileObjectConfig, path []string, ways string) {
	if bool(def.External) || def.Driver != "" {
		return
	}
	given := 0
	for _, key := range []string{"file", "environment", "content"} {
		if _, value := descendFirst(r.files, append(slices.Clone(path), key)...); value != nil {
			given++
		}
	}
	switch given {
	case 0:
		r.problem(r.files.find(path...), subject(path)+"it is not said where its content comes from", "give it with "+ways)
	case 1:
	default:
		r.problem(r.files.find(path...), subject(path)+"its content comes from two places", "keep one of "+ways)
	}
}

// fileObject is the exact content of a secret or config.
func (r *reading) fileObject(def types.FileObjectConfig, path []string) ([]byte, bool) {
	switch {
	case bool(def.External):
		return nil, false // its content is in the cluster
	case def.Environment != "":
		value, ok := r.env[def.Environment]
		if !ok && !r.closed {
			r.problem(r.files.find(append(slices.Clone(path), "environment")...),
				fmt.Sprintf("%svariable %s is not set", subject(path), def.Environment),
				fmt.Sprintf("set %s in the environment or in .env", def.Environment))
		}
		return []byte(value), ok
	case def.File != "":
		data, err := readFile(def.File, largestObject)
		if err != nil {
			r.problem(r.files.find(append(slices.Clone(path), "file")...),
				fmt.Sprintf("%sfile %s: %s", subject(path), r.relative(def.File), reason(err)), r.fileHint(err))
			return nil, false
		}
		return data, true
	default:
		return []byte(def.Content), true
	}
}

func (r *reading) fileHint(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "create the file; the path is relative to the Compose file"
	}
	return cmpOr(readHint(err), "Kubernetes holds 1 MiB; put what is bigger into the image or into a volume")
}

// containers are the specs of everything that runs: services, their pre_start hooks, jobs. Sorted by name.
func (r *reading) containers() []types.ContainerSpec {
	var all []types.ContainerSpec
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		all = append(all, s.ContainerSpec)
		for _, hook := range s.PreStart {
			all = append(all, hook.ContainerSpec)
		}
	}
	for _, name := range sortedNames(r.project.Jobs) {
		all = append(all, r.project.Jobs[name].ContainerSpec)
	}
	return all
}
