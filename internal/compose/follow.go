package compose

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// followAll reads the files that the main ones include and extend, so that their mistakes have lines too. It goes over them until
// nothing new is found: a service that is extended may extend another one.
func (r *reading) followAll() {
	for more := true; more; {
		more = false
		for i := 0; i < len(r.files); i++ { // grows while it is walked
			s := r.files[i]
			for _, doc := range s.docs {
				if !s.followed {
					r.followIncludes(s, doc)
				}
				more = r.followExtends(s, doc) || more
			}
			more = more || !s.followed
			s.followed = true
		}
	}
	r.checkExtends()
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
	for from := s; from != nil; from = from.from {
		if from.path == file {
			r.problem(at, "include of "+name+": the files include each other in a circle", "leave one include out")
			return
		}
	}
	included := r.open(at, "include of "+name, file)
	if included == nil {
		return
	}
	included.override, included.from = override, s
	included.dir = filepath.Dir(file)
	if dir != nil {
		included.dir = absolute(s.dir, s.vars.text(dir))
	}
	told := len(r.problems)
	included.vars = interpolator{env: r.includedEnv(s, included, env), secret: s.vars.secret}
	included.vars.partial = r.closed || len(r.problems) > told
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

// followExtends reads what the services of a file extend. It says whether there was something new.
func (r *reading) followExtends(s *source, doc *yaml.Node) bool {
	more := false
	for e := range s.extensions(doc) {
		before := len(r.problems)
		switch {
		case s.bad[e.node]:
		case e.file != nil:
			more = r.extend(s, e) || more
		case s.services != nil && !s.services[e.base]:
			s.services[e.base], more = true, true
		}
		if len(r.problems) > before {
			s.bad[e.node], r.incomplete = true, true
		}
	}
	return more
}

// extension is one service, or job, that extends another one.
type extension struct {
	kind, name string // services or jobs, and which
	node       *yaml.Node
	file       *yaml.Node // nil: the same
	base       string
}

// extensions are those of a document that count: of an extended file the services that are extended.
func (s *source) extensions(doc *yaml.Node) func(yield func(extension) bool) {
	return func(yield func(extension) bool) {
		for _, kind := range []string{"services", "jobs"} {
			_, services := child(doc, kind)
			for name, service := range pairs(services) {
				_, node := child(service, "extends")
				if node == nil || (s.services != nil && !s.services[name.Value]) {
					continue
				}
				node = resolve(node)
				e := extension{kind: kind, name: name.Value, node: node}
				if node.Kind == yaml.ScalarNode {
					e.base = s.vars.text(node)
				} else if _, base := child(node, "service"); base != nil {
					e.base = s.vars.text(resolve(base))
					_, e.file = child(node, "file")
				}
				if e.base != "" && !yield(e) {
					return
				}
			}
		}
	}
}

func (r *reading) extend(s *source, e extension) bool {
	name := s.vars.text(resolve(e.file))
	at := s.at(e.file, "extends")
	if remote(name) {
		r.problem(at, "extends of "+name+": remote files are not carried", "copy the file into the project and name its path")
		return false
	}
	path := absolute(s.dir, name)
	for _, known := range r.files {
		if known.path == path {
			if known.broken {
				s.bad[e.node] = true // told before
				return false
			}
			more := known.services != nil && !known.services[e.base]
			if more {
				known.services[e.base] = true
			}
			return more
		}
	}
	extended := r.open(at, "extends of "+name, path)
	if extended == nil {
		return false
	}
	extended.dir, extended.vars = filepath.Dir(path), s.vars
	extended.services = map[string]bool{e.base: true}
	return true
}

// checkExtends finds services that are not there to be extended, or extend each other. compose-go ends at the first of them, so
// they are left out of the project.
func (r *reading) checkExtends() {
	bases := map[string]string{} // by file and service
	for _, s := range r.files {
		for _, doc := range s.docs {
			for e := range s.extensions(doc) {
				if !s.bad[e.node] {
					r.checkBase(s, e, bases)
				}
			}
		}
	}
}

func (r *reading) checkBase(s *source, e extension, bases map[string]string) {
	where := func(path, service string) string { return path + "\x00" + service }
	path := s.path
	if e.file != nil {
		path = absolute(s.dir, s.vars.text(resolve(e.file)))
	}
	steps := []string{e.kind, e.name}
	wrong := func(message, hint string) {
		r.problem(s.at(e.node, pathString(append(steps, "extends"))), subject(steps)+message, hint)
		s.bad[e.node], r.incomplete = true, true
	}
	if known, there := r.extensible(path, e.kind); !slices.Contains(known, e.base) && there {
		wrong(fmt.Sprintf("extends %q, which is no %s of %s", e.base, strings.TrimSuffix(e.kind, "s"), shown(r.options.WorkingDir, path, "")), didYouMean(e.base, known))
		return
	}
	bases[where(s.path, e.name)] = where(path, e.base)
	seen := map[string]bool{}
	for next, ok := where(s.path, e.name), true; ok; next, ok = bases[next] {
		if seen[next] {
			wrong("services extend each other in a circle", "leave one extends out")
			delete(bases, where(s.path, e.name))
			return
		}
		seen[next] = true
	}
}

// extensible are the services or jobs of a file that was read.
func (r *reading) extensible(path, kind string) (known []string, there bool) {
	for _, s := range r.files {
		if s.path != path {
			continue
		}
		there = true
		for _, doc := range s.docs {
			_, services := child(doc, kind)
			known = append(known, names(services)...)
		}
	}
	return known, there
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
	s := &source{path: path, shown: shown(r.options.WorkingDir, path, ""), order: len(r.files), content: content}
	s.parse(&r.findings)
	if s.broken {
		s.docs = nil // compose-go must not see it either
	}
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
