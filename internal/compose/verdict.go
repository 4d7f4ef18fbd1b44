package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Verdict is what becomes of an attribute of the Compose specification.
type Verdict int

// The verdicts. The zero value is none, so that a missing line of the table is found.
const (
	Carried Verdict = iota + 1 // it does what Compose says
	Partly                     // carried; a warning says what is missing
	Ignored                    // not carried, and the application runs without it; a warning says so
	Refused                    // not carried, and the application would not be the same; an error says so
)

func (v Verdict) String() string {
	return [...]string{"", "carried", "in part", "ignored", "refused"}[v]
}

// Rule is the line of the verdict table for one attribute.
type Rule struct {
	Verdict Verdict
	Note    string // what is missing, or why it is not carried; when carried, what else there is to know
	Hint    string // the way out

	// when limits the warning or error to some values; nil: all. It gets the value after interpolation and its node.
	when func(value string, n *yaml.Node) bool

	// apart: the checks in code tell it, with more than a line of the table can say.
	apart bool
}

func carried() Rule                    { return Rule{Verdict: Carried} }
func partly(note, hint string) Rule    { return Rule{Verdict: Partly, Note: note, Hint: hint} }
func ignored(note, hint string) Rule   { return Rule{Verdict: Ignored, Note: note, Hint: hint} }
func refused(note, wayOut string) Rule { return Rule{Verdict: Refused, Note: note, Hint: wayOut} }

// but adds to r what readers of the table should know, and no warning tells.
func (r Rule) but(note string) Rule {
	r.Note = note
	return r
}

// inCode is r where code decides, and warns or refuses by name.
func (r Rule) inCode() Rule {
	r.apart = true
	return r
}

// on is r for those values only.
func (r Rule) on(when func(string) bool) Rule {
	r.when = func(value string, _ *yaml.Node) bool { return when(value) }
	return r
}

// unless is r for all values but these; an empty value says nothing.
func (r Rule) unless(values ...string) Rule {
	return r.on(func(v string) bool { return v != "" && !slices.Contains(values, v) })
}

// whenTrue is r for true and what Compose takes for it.
func (r Rule) whenTrue() Rule {
	return r.on(func(v string) bool {
		return slices.Contains([]string{"true", "yes", "on", "y"}, strings.ToLower(v))
	})
}

// Table is the verdict on every attribute of the Compose specification, by the paths of schema.AttributePaths.
//
// Attributes of containers are under "services.*."; jobs and pre_start hooks take them from there unless they have a line
// of their own. What is below an attribute that is ignored or refused needs no line.
type Table map[string]Rule

// Verdicts is the table.
func Verdicts() Table {
	t := Table{}
	for _, part := range []Table{
		projectRules(), containerRules(), platformRules(), storageRules(), networkingRules(), workloadRules(), buildRules(),
		serviceRules(), deployRules(), hookRules(), jobRules(),
	} {
		for path, rule := range part {
			t[path] = rule
		}
	}
	return t
}

const hookPrefix = "services.*.pre_start.[]."

// Find is the rule for an attribute, and false when the table has none.
func (t Table) Find(pattern string) (Rule, bool) {
	if rule, ok := t[pattern]; ok {
		return rule, true
	}
	if rest, ok := strings.CutPrefix(pattern, hookPrefix); ok {
		return t.Find("services.*." + rest)
	}
	if rest, ok := strings.CutPrefix(pattern, "jobs.*."); ok {
		return t.Find("services.*." + rest)
	}
	parent := pattern
	for {
		i := strings.LastIndexByte(parent, '.')
		if i < 0 {
			return Rule{}, false
		}
		parent = parent[:i]
		if rule, ok := t[parent]; ok {
			// Nothing is said of the parts of what was said to be gone as a whole.
			return Rule{Verdict: rule.Verdict, Note: rule.Note, apart: rule.apart}, rule.Verdict == Ignored || rule.Verdict == Refused
		}
	}
}

// judge gives the verdict on every attribute that stands in the files and is still there in the merged project.
func (r *reading) judge() {
	table := Verdicts()
	gone := map[string]bool{} // paths that were ignored or refused as a whole, with their file
	for _, a := range r.attributes {
		at := a.source.at(a.key, pathString(a.path))
		id := func(length int) string {
			return fmt.Sprintf("%d:%s", a.source.order, strings.Join(a.path[:length], "\x00"))
		}
		below := false
		for length := 1; length < len(a.path) && !below; length++ {
			below = gone[id(length)]
		}
		if below || !r.stands(a) {
			continue
		}
		if r.overridden(a).line > 0 {
			continue
		}
		rule, ok := table.Find(a.pattern)
		if !ok {
			r.problem(at, subject(a.path)+"not known to perch", "")
			continue
		}
		if value := resolve(a.value); rule.Verdict == Carried || rule.apart || (rule.when != nil && !rule.when(a.source.vars.text(value), value)) {
			continue
		}
		if rule.Verdict != Partly {
			gone[id(len(a.path))] = true
		}
		r.tell(rule, at, a.path)
	}
}

func (r *reading) tell(rule Rule, at position, path []string) {
	name := path[len(path)-1]
	owner := subject(path[:len(path)-1])
	switch rule.Verdict {
	case Partly:
		r.warn(at, fmt.Sprintf("%s%s is carried in part: %s", owner, name, rule.Note), rule.Hint)
	case Ignored:
		r.warn(at, fmt.Sprintf("%s%s is ignored: %s", owner, name, rule.Note), rule.Hint)
	case Refused:
		r.problem(at, fmt.Sprintf("%s%s is not carried: %s", owner, name, rule.Note), rule.Hint)
	}
}

// stands tells whether an attribute of a file is in the merged project: not in a service that a profile leaves out, not
// reset by an override, and of an extended file only what is extended.
func (r *reading) stands(a attribute) bool {
	if len(a.path) > 1 && (a.path[0] == "services" || a.path[0] == "jobs") {
		if a.source.services != nil {
			return a.source.services[a.path[1]]
		}
		_, service := r.project.Project.Services[a.path[1]]
		_, job := r.project.Jobs[a.path[1]]
		if !service && !job {
			return false
		}
	}
	if a.source.services != nil {
		return false // an extended file gives its services only
	}
	if a.path[0] == "include" || a.path[0] == "version" {
		return true
	}
	var tree any = r.model
	for i, step := range a.path {
		m, ok := tree.(map[string]any)
		if !ok {
			return true
		}
		if tree, ok = m[step]; !ok {
			return i > 0 && a.path[i] == "extends" // compose-go has merged it
		}
	}
	return true
}

// overridden is where a later file of the project has another value in place of a scalar, else nowhere.
func (r *reading) overridden(a attribute) position {
	if !a.source.main || resolve(a.value).Kind != yaml.ScalarNode {
		return position{}
	}
	for _, step := range a.path {
		if _, err := strconv.Atoi(step); err == nil {
			return position{} // an item of a list, which is merged by other rules
		}
	}
	for _, s := range r.files {
		if !s.main || s.order <= a.source.order {
			continue
		}
		for _, doc := range s.docs {
			if key, value := entry(doc, a.path); value != nil && resolve(value).Kind == yaml.ScalarNode {
				return s.at(key, pathString(a.path))
			}
		}
	}
	return position{}
}
