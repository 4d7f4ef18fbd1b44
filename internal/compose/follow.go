package compose

import (
	"maps"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// followAll reads the files that the main ones include and extend, so that their mistakes have lines too.
func (r *reading) followAll() {
	for i := 0; i < len(r.files); i++ { // grows while it is walked
		s := r.files[i]
		for _, doc := range s.docs {
			r.followIncludes(s, doc)
			r.followExtends(s, doc)
		}
	}
}

func (r *reading) followIncludes(s *source, doc *yaml.Node) {
	_, list := child(doc, "include")
	if list = resolve(list); list == nil || list.Kind != yaml.SequenceNode || s.services != nil {
		return
	}
	for _, one := range list.Content {
		one = resolve(one)
		if one.Kind == yaml.ScalarNode {
			r.include(s, one, one, nil, nil, false)
			continue
		}
		_, dir := child(one, "project_directory")
		_, env := child(one, "env_file")
		_, paths := child(one, "path")
		switch paths = resolve(paths); {
		case paths == nil:
		case paths.Kind == yaml.ScalarNode:
			r.include(s, one, paths, dir, env, false)
		case paths.Kind == yaml.SequenceNode:
			for i, path := range paths.Content {
				r.include(s, one, resolve(path), dir, env, i > 0)
			}
		}
	}
}

// include reads a file that entry, an item of include, names. An entry that cannot be read is left out of the project, so that
// the rest of it can be checked too.
func (r *reading) include(s *source, entry, path, dir, env *yaml.Node, override bool) {
	before := len(r.problems)
	defer func() {
		if len(r.problems) > before {
			s.bad[entry], r.incomplete = true, true
		}
	}()
	name := s.vars.text(path)
	at := s.at(path, "include")
	if remote(name) {
		r.problem(at, "include of "+name+": remote files are not carried", "copy the file into the project and include its path")
		return
	}
	file := absolute(s.dir, name)
	included := r.open(at, "include of "+name, file)
	if included == nil {
		return
	}
	included.override = override
	included.dir = filepath.Dir(file)
	if dir != nil {
		included.dir = absolute(s.dir, s.vars.text(dir))
	}
	included.vars = interpolator{r.includedEnv(s, included, env)}
}

// includedEnv is the environment of an included file: that of the project, then its own env files, by default the .env
// beside it.
func (r *reading) includedEnv(s, included *source, env *yaml.Node) map[string]string {
	o := Options{WorkingDir: s.dir}
	switch env = resolve(env); {
	case env == nil:
	case env.Kind == yaml.ScalarNode:
		o.EnvFiles = []string{s.vars.text(env)}
	default:
		for _, one := range env.Content {
			o.EnvFiles = append(o.EnvFiles, s.vars.text(resolve(one)))
		}
	}
	base := maps.Clone(s.vars.env)
	delete(base, "COMPOSE_ENV_FILES") // those are the project's
	return withEnvFiles(o, included.dir, base, &r.findings)
}

func (r *reading) followExtends(s *source, doc *yaml.Node) {
	for _, kind := range []string{"services", "jobs"} {
		_, services := child(doc, kind)
		if services == nil {
			continue
		}
		for name, service := range pairs(services) {
			if s.services != nil && !s.services[name.Value] {
				continue
			}
			_, extends := child(service, "extends")
			_, file := child(extends, "file")
			_, base := child(extends, "service")
			if file == nil || base == nil {
				continue
			}
			before := len(r.problems)
			r.extend(s, file, s.vars.text(base))
			if len(r.problems) > before {
				s.bad[resolve(extends)], r.incomplete = true, true
			}
		}
	}
}

func (r *reading) extend(s *source, file *yaml.Node, service string) {
	name := s.vars.text(file)
	at := s.at(file, "extends")
	if remote(name) {
		r.problem(at, "extends of "+name+": remote files are not carried", "copy the file into the project and name its path")
		return
	}
	path := absolute(s.dir, name)
	for _, known := range r.files {
		if known.path == path {
			if known.services != nil {
				known.services[service] = true
			}
			return
		}
	}
	extended := r.open(at, "extends of "+name, path)
	if extended == nil {
		return
	}
	extended.dir, extended.vars = filepath.Dir(path), s.vars
	extended.services = map[string]bool{service: true}
}

// open reads one more file into the project, once.
func (r *reading) open(at position, what, path string) *source {
	for _, known := range r.files {
		if known.path == path {
			return nil
		}
	}
	content, err := readFile(path, largestFile)
	if err != nil {
		r.problem(at, what+": "+reason(err), "the path is relative to the folder of the file that names it")
		return nil
	}
	s := &source{bad: map[*yaml.Node]bool{}, path: path, shown: shown(r.options.WorkingDir, path, ""), order: len(r.files), content: content}
	s.parse(&r.findings)
	r.files = append(r.files, s)
	return s
}

func remote(path string) bool {
	for _, prefix := range []string{"oci://", "git@", "git://", "ssh://", "http://", "https://", "github.com/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
