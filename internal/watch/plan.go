package watch

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/patternmatcher"
)

// Work is what has to be done for one service. It is done in the order of its fields.
type Work struct {
	Service string
	Rebuild bool
	Sync    []File // sorted by Target, each once
	Restart bool   // not with Rebuild, which replaces the pods anyway
	Exec    []int  // indexes of the rules in develop.watch whose commands are run, ascending
}

// File is a changed path of the host and where it belongs in the container. That it is gone means that it goes there too.
type File struct {
	Host   string
	Target string
}

// Plan says what the changed paths ask for, by service. It looks at nothing but its arguments.
func Plan(rules []Rule, changed []string) []Work {
	byService := map[string]*Work{}
	var names []string
	for _, r := range rules {
		for _, name := range changed {
			target, ok := r.Match(name)
			if !ok {
				continue
			}
			w := byService[r.Service]
			if w == nil {
				w = &Work{Service: r.Service}
				byService[r.Service] = w
				names = append(names, r.Service)
			}
			w.take(r, File{name, target})
		}
	}
	slices.Sort(names)
	out := make([]Work, 0, len(names))
	for _, name := range names {
		out = append(out, byService[name].tidy())
	}
	return out
}

// take adds what a rule asks for.
func (w *Work) take(r Rule, f File) {
	switch r.Action {
	case types.WatchActionRebuild:
		w.Rebuild = true
	case types.WatchActionRestart, types.WatchActionSyncRestart:
		w.Restart = true
	case types.WatchActionSyncExec:
		w.Exec = append(w.Exec, r.Index)
	}
	if r.syncs() {
		w.Sync = append(w.Sync, f)
	}
}

// merge is both works as one.
func (w Work) merge(other Work) Work {
	w.Service = other.Service
	w.Rebuild = w.Rebuild || other.Rebuild
	w.Restart = w.Restart || other.Restart
	w.Sync = append(slices.Clone(w.Sync), other.Sync...)
	w.Exec = append(slices.Clone(w.Exec), other.Exec...)
	return w.tidy()
}

func (w Work) tidy() Work {
	slices.SortStableFunc(w.Sync, func(a, b File) int { return strings.Compare(a.Target, b.Target) })
	w.Sync = slices.CompactFunc(w.Sync, func(a, b File) bool { return a.Target == b.Target })
	slices.Sort(w.Exec)
	w.Exec = slices.Compact(w.Exec)
	w.Restart = w.Restart && !w.Rebuild
	return w
}

// Match tells whether the rule is about a path, and where that belongs in the container ("" for rules without target).
func (r Rule) Match(name string) (target string, ok bool) {
	if !within(r.Path, name) || r.ignored(name) {
		return "", false
	}
	rel, err := filepath.Rel(r.Path, name)
	if err != nil {
		return "", false
	}
	if r.include != nil && !matches(r.include, includePath(rel, name)) {
		return "", false
	}
	if r.Target == "" {
		return "", true
	}
	return path.Join(r.Target, filepath.ToSlash(rel)), true
}

// includePath is what include patterns are compared with: the path in the rule's folder, or the name of its single file.
func includePath(rel, name string) string {
	if rel == "." {
		return filepath.Base(name)
	}
	return rel
}

func (r Rule) ignored(name string) bool {
	return slices.ContainsFunc(r.ignores, func(i ignore) bool { return i.matches(name) })
}

// skips tells whether nothing in a folder can be the rule's matter. It may say no when it does not know.
func (r Rule) skips(dir string) bool {
	if within(dir, r.Path) {
		return false
	}
	return !within(r.Path, dir) || slices.ContainsFunc(r.ignores, func(i ignore) bool {
		return !i.matcher.Exclusions() && i.matches(dir)
	})
}

func (i ignore) matches(name string) bool {
	rel, err := filepath.Rel(i.dir, name)
	if err != nil || rel == "." || !within(i.dir, name) {
		return false
	}
	return matches(i.matcher, rel)
}

// matches tells whether the path or a folder that it is in matches. Patterns were checked when they were read.
func matches(m *patternmatcher.PatternMatcher, rel string) bool {
	ok, err := m.MatchesOrParentMatches(filepath.ToSlash(rel))
	return err == nil && ok
}
