package ui

import (
	"slices"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// maxOutput is how many lines of one thing's output are kept for the report of its failure.
const maxOutput = 2000

// thing is what events told of one ID.
type thing struct {
	id, parent string
	text       string // what happens now, or happened at the end
	printed    string // the last line it printed since text was set
	status     progress.Status
	current    int64
	total      int64
	since      time.Time // when it began, or began again
	until      time.Time // when it ended; zero: it goes on
	order      int       // of first appearance
	fresh      bool      // the last event began it
	output     []string
	dropped    int // lines of output that were not kept
}

func (t *thing) active() bool { return t.until.IsZero() }

func (t *thing) took() time.Duration { return t.until.Sub(t.since) }

// noTime is a time not worth telling.
const noTime = 50 * time.Millisecond

// tookText is how long a thing took that ended, in brackets; "" when it was no time.
func (t *thing) tookText() string {
	if t.took() < noTime {
		return ""
	}
	return " (" + Duration(t.took()) + ")"
}

// things are all things by ID.
type things map[string]*thing

func (ts things) text(id string) string {
	if t, ok := ts[id]; ok {
		return t.text
	}
	return ""
}

// take brings the thing of an event up to date. text is the event's text, cleaned.
//
//	(nothing) -- any --> active -- Done, Same, Failed --> ended -- Working --> active
//
// A warning or a line of output about a thing that ended leaves it ended.
func (ts things) take(e progress.Event, text string) *thing {
	t, ok := ts[e.ID]
	if !ok {
		t = &thing{id: e.ID, order: len(ts), since: e.Time, status: progress.Working}
		ts[e.ID] = t
	}
	t.fresh = !ok
	if e.Parent != "" {
		t.parent = e.Parent
	}
	switch e.Status {
	case progress.Working:
		if !t.active() {
			*t = thing{id: t.id, parent: t.parent, order: t.order, since: e.Time, fresh: true}
		}
		t.status, t.current, t.total = e.Status, e.Current, e.Total
		if text != "" {
			t.text, t.printed = text, ""
		}
	case progress.Done, progress.Same, progress.Failed:
		t.status, t.text, t.printed, t.until = e.Status, text, "", e.Time
	case progress.Output:
		t.printed = text
		t.output = append(t.output, text)
		if len(t.output) > maxOutput {
			t.dropped += len(t.output) - maxOutput
			t.output = slices.Delete(t.output, 0, len(t.output)-maxOutput)
		}
	case progress.Warned:
	}
	return t
}

// all are the things for which keep is true, in order of appearance.
func (ts things) all(keep func(*thing) bool) []*thing {
	var list []*thing
	for _, t := range ts {
		if keep(t) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *thing) int { return a.order - b.order })
	return list
}

// leaves are the active things that have no active part.
func (ts things) leaves() []*thing {
	hasPart := map[string]bool{}
	for _, t := range ts {
		if t.active() {
			hasPart[t.parent] = true
		}
	}
	return ts.all(func(t *thing) bool { return t.active() && !hasPart[t.id] })
}

// above is the active thing that t is shown under, nil when t stands by itself.
func (ts things) above(t *thing) *thing {
	if p, ok := ts[t.parent]; ok && p != t && p.active() {
		return p
	}
	return nil
}
