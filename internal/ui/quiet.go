package ui

import (
	"fmt"
	"io"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// quietPainter writes warnings and failures only.
type quietPainter struct{ out io.Writer }

var _ painter = (*quietPainter)(nil)

func (p *quietPainter) event(e progress.Event) {
	switch e.Status {
	case progress.Warned:
		p.message(fmt.Sprintf("%s: warning: %s", clean(e.ID), clean(e.Text)))
	case progress.Failed:
		p.message(fmt.Sprintf("%s: failed: %s", clean(e.ID), clean(e.Text)))
	default:
	}
}

func (p *quietPainter) message(text string) { _, _ = fmt.Fprintln(p.out, text) }
func (p *quietPainter) flush(time.Time)     {}
func (p *quietPainter) close(time.Time)     {}
func (p *quietPainter) showed(string) bool  { return false }
