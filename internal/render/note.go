package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Levels of the Pod Security Standards, weakest last.
const (
	levelBaseline   = "baseline"
	levelPrivileged = "privileged"
)

// note says something of one key of what runs. A hook inherits most of its keys: what was said of its service is not said
// again.
func (b *builder) note(r runs, key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if i := strings.Index(r.path, ".pre_start"); i > 0 {
		if slices.Contains(b.notes, Note{Path: r.path[:i] + "." + key, Text: text}) {
			return
		}
	}
	b.notes = append(b.notes, Note{Path: r.path + "." + key, Text: text})
}

// weaker notes that a key asks for more than the level restricted allows.
func (b *builder) weaker(r runs, key, level, why string) {
	b.note(r, key, "Pod security is %s: %s", level, why)
	if level == levelPrivileged {
		b.privileged = append(b.privileged, r.path+"."+key)
	}
}

// sortedNotes are all notes in order, each once.
func (b *builder) sortedNotes() []Note {
	slices.SortFunc(b.notes, func(a, b Note) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text)) })
	return slices.Compact(b.notes)
}
