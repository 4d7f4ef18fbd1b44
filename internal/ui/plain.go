package ui

import (
	"fmt"
	"io"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// signOfLife is how long a log may be silent: CI systems end a job that says nothing for minutes, and people wonder
// long before that.
const signOfLife = 30 * time.Second

// plainPainter writes one line for each change of state, the thing's name first. Nothing moves, all is ASCII but for
// what others print.
type plainPainter struct {
	out    io.Writer
	things things
	last   time.Time // when the last line was written
}

var _ painter = (*plainPainter)(nil)

func newPlain(out io.Writer) *plainPainter {
	return &plainPainter{out: out, things: things{}}
}

func (p *plainPainter) event(e progress.Event) {
	id, text := clean(e.ID), clean(e.Text)
	before := p.things.text(e.ID)
	t := p.things.take(e, text)
	switch e.Status {
	case progress.Working:
		if text == "" && t.fresh {
			text = "started"
		}
		if text != "" && (t.fresh || text != before) {
			p.line(e.Time, "%s: %s", id, text)
		}
	case progress.Done:
		p.line(e.Time, "%s: %s%s", id, orElse(text, "done"), t.tookText())
	case progress.Same:
		p.line(e.Time, "%s: %s", id, orElse(text, "unchanged"))
	case progress.Failed:
		p.line(e.Time, "%s: failed: %s%s", id, orElse(text, "see above"), t.tookText())
	case progress.Warned:
		p.line(e.Time, "%s: warning: %s", id, text)
	case progress.Output:
		p.line(e.Time, "%s | %s", id, text)
	}
}

func (p *plainPainter) message(text string) { _, _ = fmt.Fprintln(p.out, text) }

// flush says what is still going on when nothing was said for long. A thing whose parts go on is not named: they are.
func (p *plainPainter) flush(now time.Time) {
	if p.last.IsZero() || now.Sub(p.last) < signOfLife {
		return
	}
	for _, t := range p.things.leaves() {
		text := ""
		if t.text != "" {
			text = ": " + t.text
		}
		p.line(now, "%s: still working%s (%s)", clean(t.id), text, Duration(now.Sub(t.since)))
	}
}

func (p *plainPainter) close(time.Time)    {}
func (p *plainPainter) showed(string) bool { return false }

func (p *plainPainter) line(now time.Time, format string, args ...any) {
	p.last = now
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
