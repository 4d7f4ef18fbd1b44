package fit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/fault"
)

// Level says how bad a finding is.
type Level string

// The levels, the worst first.
const (
	Missing Level = "missing" // it cannot work
	Risky   Level = "risky"   // it works, with something that is to be known
	Unknown Level = "unknown" // it was not to be seen
)

// Finding is one thing that the cluster does not offer, or that is not known of it.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`           // by name: "storage class fast"
	Why   string `json:"why"`            // what needs it, and what is there instead
	Hint  string `json:"hint,omitempty"` // a command, or a line to change; it may have several lines
}

// line is the finding without its hint.
func (f Finding) line() string { return f.What + ": " + f.Why }

// Findings are what was found, as Judge sorts them.
type Findings []Finding

func (f Findings) sorted() Findings {
	rank := map[Level]int{Missing: 0, Risky: 1, Unknown: 2}
	slices.SortStableFunc(f, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Level], rank[b.Level]), cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	return slices.Compact(f)
}

// Of is those of one level.
func (f Findings) Of(level Level) Findings {
	return slices.DeleteFunc(slices.Clone(f), func(one Finding) bool { return one.Level != level })
}

// String is a line for each finding, for `perch plan`.
func (f Findings) String() string {
	var b strings.Builder
	for _, one := range f {
		fmt.Fprintf(&b, "%-7s  %s\n", one.Level, one.line())
	}
	return b.String()
}

// Err is one error for all that is missing, nil when nothing is. The hints come in the order of the findings, each once.
func (f Findings) Err() error {
	missing := f.Of(Missing)
	if len(missing) == 0 {
		return nil
	}
	var lines, hints []string
	for _, one := range missing {
		lines = append(lines, one.line())
		if one.Hint != "" && !slices.Contains(hints, one.Hint) {
			hints = append(hints, one.Hint)
		}
	}
	text := "the cluster lacks " + lines[0]
	if len(lines) > 1 {
		text = "the cluster lacks what the project needs; nothing was changed:\n  " + strings.Join(lines, "\n  ")
	}
	return &fault.Error{Kind: fault.Other, Err: errors.New(text), Hint: strings.Join(hints, "\n")}
}
