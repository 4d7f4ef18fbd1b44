package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// Rule is one entry of develop.watch that was checked. Paths are absolute and without symbolic links in them.
type Rule struct {
	Service string
	Index   int // in develop.watch of the service
	Path    string
	Action  types.WatchAction
	Target  string // in the container; "" with rebuild and restart
	Exec    types.ServiceHook
	Initial bool

	include *patternmatcher.PatternMatcher // of what lies in Path; nil: all
	ignores []ignore
}

// ignore is a list of patterns for what lies in dir; other paths are not its matter.
type ignore struct {
	dir     string
	matcher *patternmatcher.PatternMatcher
}

// syncs tells whether the rule copies files into containers.
func (r Rule) syncs() bool {
	return r.Action == types.WatchActionSync || r.Action == types.WatchActionSyncRestart || r.Action == types.WatchActionSyncExec
}

// Rules are the rules of the services, all that have some when none is named, in order of service and index. Every
// mistake in them is told at once, as compose.Problems with file and line. warnings are about rules that are left out.
//
// A rule ignores, as docker compose watch has it: what the build context's .dockerignore names, .git, the temporary files
// of editors, and its own ignore: patterns, which are relative to its path.
func Rules(p *compose.Project, services []string) (rules []Rule, warnings compose.Problems, err error) {
	var problems compose.Problems
	for _, name := range p.ServiceNames() {
		service := p.Project.Services[name]
		if service.Develop == nil || len(services) > 0 && !slices.Contains(services, name) {
			continue
		}
		for i, trigger := range service.Develop.Watch {
			at := place{project: p, service: name, index: i}
			if w, skip := bound(at, service, trigger); skip {
				warnings = append(warnings, w)
				continue
			}
			rule, wrong := newRule(at, service, trigger)
			problems = append(problems, wrong...)
			rules = append(rules, rule)
		}
	}
	if len(problems) > 0 {
		return nil, nil, problems
	}
	if len(rules) == 0 && len(warnings) == 0 {
		return nil, nil, nothing(p, services)
	}
	return rules, warnings, nil
}

// nothing is the error of a watch that has no rule.
func nothing(p *compose.Project, services []string) error {
	const hint = "add develop: {watch: [{action: rebuild, path: .}]} to the service; see the section on watch in docs/guide.md"
	var with []string
	for _, name := range p.ServiceNames() {
		if d := p.Project.Services[name].Develop; d != nil && len(d.Watch) > 0 {
			with = append(with, name)
		}
	}
	switch {
	case len(services) > 0 && len(with) > 0:
		return fault.New(fault.ComposeFile, "services with develop.watch: "+strings.Join(with, ", "),
			"nothing to watch: %s without develop.watch", quoted(services))
	case len(services) > 0:
		return fault.New(fault.ComposeFile, hint, "nothing to watch: %s without develop.watch", quoted(services))
	}
	return fault.New(fault.ComposeFile, hint, "nothing to watch: no service of the Compose file has develop.watch")
}

func quoted(services []string) string {
	if len(services) == 1 {
		return fmt.Sprintf("service %q is", services[0])
	}
	each := make([]string, len(services))
	for i, s := range services {
		each[i] = fmt.Sprintf("%q", s)
	}
	return "services " + strings.Join(each, ", ") + " are"
}

// place is where a rule stands in the Compose file.
type place struct {
	project *compose.Project
	service string
	index   int
}

func (p place) problem(hint, key, format string, args ...any) compose.Problem {
	steps := []string{"services", p.service, "develop", "watch", fmt.Sprint(p.index)}
	if key != "" {
		steps = append(steps, key)
	}
	text := fmt.Sprintf("service %q: develop.watch[%d]: ", p.service, p.index) + fmt.Sprintf(format, args...)
	return p.project.Problem(text, hint, steps...)
}

// bound finds rules that copy what a bind mount brings into the container anyway.
func bound(at place, service types.ServiceConfig, t types.Trigger) (warning compose.Problem, skip bool) {
	if !(Rule{Action: t.Action}).syncs() {
		return compose.Problem{}, false
	}
	for _, v := range service.Volumes {
		if v.Type != types.VolumeTypeBind || !within(v.Source, t.Path) {
			continue
		}
		hint := "remove the rule"
		if tree, ok := at.project.Binds[v.Source]; ok && tree.Host == "" {
			hint = "it is a copy, made by perch up: remove the volume to have it synced"
		}
		return at.problem(hint, "path", "%s is mounted by a volume, so it is not synced", t.Path), true
	}
	return compose.Problem{}, false
}

// newRule checks one trigger.
func newRule(at place, service types.ServiceConfig, t types.Trigger) (Rule, compose.Problems) {
	r := Rule{Service: at.service, Index: at.index, Action: t.Action, Target: t.Target, Exec: t.Exec, Initial: t.InitialSync}
	var wrong compose.Problems
	add := func(hint, key, format string, args ...any) {
		wrong = append(wrong, at.problem(hint, key, format, args...))
	}
	resolved, err := filepath.EvalSymlinks(t.Path)
	switch {
	case t.Path == "":
		add("name a file or folder", "", "no path")
	case errors.Is(err, fs.ErrNotExist):
		add("create it, or correct the path", "path", "there is no %s", t.Path)
	case err != nil:
		add("", "path", "%v", err)
	}
	r.Path = resolved
	switch t.Action {
	case types.WatchActionRebuild:
		if service.Build == nil {
			add("give it build:, or use sync", "action", "rebuild, but the service has no build")
		}
	case types.WatchActionRestart:
	case types.WatchActionSync, types.WatchActionSyncRestart, types.WatchActionSyncExec:
		if !path.IsAbs(t.Target) {
			add("give target: an absolute path in the container", "action", "%s needs a target", t.Action)
		}
	default:
		add("one of rebuild, sync, restart, sync+restart, sync+exec", "action", "unknown action %q", t.Action)
	}
	wrong = append(wrong, checkExec(at, service, t)...)
	if r.include, err = matcher(t.Include, true); err != nil {
		add("see the patterns of .dockerignore", "include", "%v", err)
	}
	own, err := matcher(t.Ignore, false)
	if err != nil {
		add("see the patterns of .dockerignore", "ignore", "%v", err)
	}
	if len(wrong) > 0 {
		return r, wrong
	}
	if r.ignores, err = dockerIgnores(service.Build); err != nil {
		add("see the patterns of .dockerignore", "", "%v", err)
	}
	defaults, err := patternmatcher.New(defaultIgnores())
	if err != nil {
		add("", "", "%v", err) // they are ours: never
	}
	r.ignores = append(r.ignores, ignore{r.base(), own}, ignore{r.base(), defaults})
	return r, wrong
}

// checkExec checks the hook of sync+exec for what can be had when a command is executed in a running container.
func checkExec(at place, service types.ServiceConfig, t types.Trigger) compose.Problems {
	switch {
	case t.Action != types.WatchActionSyncExec:
		return nil
	case len(t.Exec.Command) == 0:
		return compose.Problems{at.problem("give exec: {command: …}", "exec", "sync+exec without a command")}
	case t.Exec.User != "" && t.Exec.User != service.User:
		return compose.Problems{at.problem("leave user: away, or give it to the service", "exec",
			"user %q: Kubernetes executes commands as the user of the container", t.Exec.User)}
	case t.Exec.Privileged && !service.Privileged:
		return compose.Problems{at.problem("leave privileged: away, or give it to the service", "exec",
			"privileged: Kubernetes executes commands with the rights of the container")}
	}
	return nil
}

// base is the folder that the rule's patterns are relative to: its path, or for a single file the folder of it.
func (r Rule) base() string {
	if info, err := os.Stat(r.Path); err == nil && !info.IsDir() {
		return filepath.Dir(r.Path)
	}
	return r.Path
}

// matcher is nil for no patterns when none means all.
func matcher(patterns []string, all bool) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 && all {
		return nil, nil
	}
	clean := make([]string, 0, len(patterns))
	for _, p := range patterns {
		negated := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(strings.TrimPrefix(p, "!")), "./"), "/")
		if negated {
			p = "!" + p
		}
		clean = append(clean, p)
	}
	return patternmatcher.New(clean)
}

// dockerIgnores are the patterns of the build context's ignore file, found as BuildKit does.
func dockerIgnores(build *types.BuildConfig) ([]ignore, error) {
	if build == nil || build.Context == "" {
		return nil, nil
	}
	dir, err := filepath.EvalSymlinks(build.Context)
	if err != nil {
		return nil, nil //nolint:nilerr // no folder here: a git address, which has no changes to watch
	}
	dockerfile := build.Dockerfile
	if dockerfile == "" {
		dockerfile = "Dockerfile"
	}
	if !filepath.IsAbs(dockerfile) {
		dockerfile = filepath.Join(dir, dockerfile)
	}
	for _, name := range []string{dockerfile + ".dockerignore", filepath.Join(dir, ".dockerignore")} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return []ignore{{dir, m}}, nil
	}
	return nil, nil
}

// defaultIgnores are what no rule is about: git's own files, and what editors leave while they save (JetBrains, Emacs, vim).
func defaultIgnores() []string {
	return []string{
		"**/.git", "**/*___jb_old___", "**/*___jb_tmp___", "**/.idea", "**/.#*", "**/#*#",
		"**/4913", "**/*~", "**/.*.swp", "**/.*.swx", "**/.*.swo", "**/.*.swn",
	}
}

// within tells whether name is dir or lies in it. Both are absolute.
func within(dir, name string) bool {
	rel, err := filepath.Rel(dir, name)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
