package ui

import (
	"encoding/json"
	"io"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// jsonPainter writes one JSON object a line: the events as they are. A message of Perch's own is an event with the ID
// "perch".
type jsonPainter struct {
	out io.Writer
	now func() time.Time
}

var _ painter = (*jsonPainter)(nil)

func (p *jsonPainter) event(e progress.Event) {
	e.Time = e.Time.UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return // an Event has nothing that cannot be marshalled
	}
	_, _ = p.out.Write(append(line, '\n')) // a reader that went away must not stop the work
}

func (p *jsonPainter) message(text string) {
	p.event(progress.Event{ID: "perch", Text: text, Status: progress.Working, Time: p.now()})
}

func (p *jsonPainter) flush(time.Time)    {}
func (p *jsonPainter) close(time.Time)    {}
func (p *jsonPainter) showed(string) bool { return false }
