package compose

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/perch-k8s/perch/internal/fault"
)

// Explanation is what becomes of one attribute where it stands in a Compose file.
type Explanation struct {
	Path    string  // as services.web.ports[0].target
	File    string  // as Problem.File
	Line    int     // 1 is the first
	Verdict Verdict // on this value: an attribute that is carried in part may be carried whole as it is here
	Note    string  // what is missing, or why it is not carried; "" when there is nothing to know
	Hint    string  // the way out
}

// Explain tells what becomes of the attribute at a path of the Compose file and of all below it, in file order: where each
// stands, the verdict on it, and what Load says of it. Lists count from 0: services.web.ports[0] or services.web.ports.0. The
// file may have mistakes: they are the verdicts of those who look for them. A path that is in no file is a fault.Usage with
// the nearest path there is.
func Explain(ctx context.Context, o Options, path string) ([]Explanation, error) {
	r := &reading{options: o}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	if r.shape == nil {
		return nil, r.problems.sorted()
	}
	r.examine()
	r.load(ctx)
	if r.project != nil {
		r.checkProject()
	}
	r.redact()
	wanted := r.steps(path)
	table := Verdicts()
	var all []Explanation
	for _, a := range r.attributes {
		if !r.concerns(a, wanted) || r.project != nil && !r.stands(a) {
			continue
		}
		all = append(all, r.explain(table, a, a.path))
	}
	if len(all) == 0 {
		return r.explainPart(wanted, path)
	}
	return all, nil
}

// concerns tells whether an attribute is the one at a path, or below it.
func (r *reading) concerns(a attribute, wanted []string) bool {
	return len(a.path) >= len(wanted) && slices.Equal(a.path[:len(wanted)], wanted)
}

// steps takes services.web.ports[0].target apart. Names may have dots in them, so the files say where a name ends.
func (r *reading) steps(path string) []string {
	for _, s := range r.files {
		for _, doc := range s.docs {
			if found := stepsIn(doc, path); found != nil {
				return found
			}
		}
	}
	return strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' || c == ']' })
}

// stepsIn is path as steps from n that are all there, nil when they are not.
func stepsIn(n *yaml.Node, path string) []string {
	path = strings.TrimLeft(path, ".[]")
	if path == "" {
		return []string{}
	}
	for end := len(path); end > 0; end-- {
		if end < len(path) && !strings.ContainsRune(".[]", rune(path[end])) {
			continue
		}
		if _, value := child(n, path[:end]); value != nil {
			if rest := stepsIn(value, path[end:]); rest != nil {
				return append([]string{path[:end]}, rest...)
			}
		}
	}
	return nil
}

// explain gives the verdict of the table on an attribute, and what the checks found at a path that is the attribute's or that
// of a part of it.
func (r *reading) explain(table Table, a attribute, path []string) Explanation {
	at := a.source.at(a.key, pathString(path))
	e := Explanation{Path: at.path, File: at.file, Line: at.line, Verdict: Carried}
	if other := r.overridden(a); other.line > 0 {
		e.Note = fmt.Sprintf("%s:%d has another value", other.file, other.line)
		return e
	}
	if rule, ok := table.Find(a.pattern); ok {
		value := resolve(a.value)
		if rule.when == nil || rule.when(a.source.vars.text(value), value) {
			e.Verdict, e.Note, e.Hint = rule.Verdict, rule.Note, rule.Hint
		}
		if rule.apart {
			e.Verdict, e.Hint = Carried, "" // unless the checks found something
		}
	}
	below := r.belowOf(a, path)
	r.amend(&e, r.problems, Refused, below)
	r.amend(&e, r.warnings, Partly, below)
	return e
}

// belowOf are the attributes below a path, which tell of themselves.
func (r *reading) belowOf(a attribute, path []string) []string {
	var all []string
	for _, other := range r.attributes {
		if other.source == a.source && len(other.path) > len(path) && r.concerns(other, path) {
			all = append(all, pathString(other.path))
		}
	}
	return all
}

// amend adds what was found at the path of an attribute, or at a part of it that is no attribute by itself.
func (r *reading) amend(e *Explanation, found Problems, verdict Verdict, below []string) {
	var notes []string
	for _, p := range found {
		if p.File != e.File || !pathWithin(e.Path, p.Path) || slices.ContainsFunc(below, func(b string) bool { return pathWithin(b, p.Path) }) {
			continue
		}
		if strings.Contains(p.Message, " is ignored") {
			verdict = Ignored
		}
		if e.Verdict < verdict {
			e.Verdict, e.Hint = verdict, p.Hint
		}
		ownWords := e.Note != "" && strings.HasSuffix(p.Message, e.Note)
		if !ownWords && !slices.Contains(notes, p.Message) {
			notes = append(notes, p.Message)
		}
	}
	if len(notes) > 0 {
		e.Note = strings.Join(notes, "; ")
	}
}

// pathWithin tells whether a path is another one or below it, both as Problem.Path has them.
func pathWithin(parent, path string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// explainPart is for a path that is in a file and no attribute by itself, as services.web.environment.URL or
// services.web.ports[0]: it is explained with the attribute that it is a part of.
func (r *reading) explainPart(wanted []string, path string) ([]Explanation, error) {
	for _, s := range r.files {
		for _, doc := range s.docs {
			key, value := entry(doc, wanted)
			if value == nil {
				continue
			}
			for length := len(wanted) - 1; length > 0; length-- {
				for _, a := range r.attributes {
					if len(a.path) == length && r.concerns(a, wanted[:length]) && a.source == s {
						e := r.explain(Verdicts(), a, wanted)
						e.Line = key.Line
						return []Explanation{e}, nil
					}
				}
			}
		}
	}
	return nil, r.unknownPath(wanted, path)
}

// entry is the key and value at a path of a document, nil when it is not there.
func entry(doc *yaml.Node, path []string) (key, value *yaml.Node) {
	value = doc
	for _, step := range path {
		if key, value = child(value, step); value == nil {
			return nil, nil
		}
	}
	return key, value
}

// unknownPath suggests the nearest path that the files have, else says that the specification has it.
func (r *reading) unknownPath(wanted []string, path string) error {
	for length := len(wanted) - 1; length >= 0; length-- {
		var known []string
		for _, s := range r.files {
			for _, doc := range s.docs {
				_, value := entry(doc, wanted[:length])
				if length == 0 {
					value = doc
				}
				known = append(known, names(value)...)
			}
		}
		if len(known) == 0 {
			continue
		}
		slices.Sort(known)
		known = slices.Compact(known)
		hint := didYouMean(wanted[length], known)
		if hint != "" {
			hint = "did you mean " + pathString(append(slices.Clone(wanted[:length]), strings.Trim(strings.TrimPrefix(hint, "did you mean "), `"?`))) + "?"
		} else {
			hint = cmpOr(pathString(wanted[:length]), "the file") + " has " + strings.Join(known, ", ")
		}
		return fault.New(fault.Usage, hint, "there is no %s in the Compose file", path)
	}
	return fault.New(fault.Usage, "as in services.web.depends_on", "there is no %s in the Compose file", path)
}

// names are the keys of a mapping, or the indexes of a list.
func names(n *yaml.Node) []string {
	n = resolve(n)
	var all []string
	switch {
	case n == nil:
	case n.Kind == yaml.MappingNode:
		for k := range pairs(n) {
			all = append(all, k.Value)
		}
	case n.Kind == yaml.SequenceNode:
		for i := range n.Content {
			all = append(all, strconv.Itoa(i))
		}
	}
	return all
}
