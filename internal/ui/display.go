// Package ui turns progress events into what people and machines read: a terminal with live lines, a CI log, JSON
// lines, or next to nothing; and results into tables. It is the only package besides cli that writes to a stream. It
// decides nothing about the work: the same events, whoever reads them.
package ui

import (
	"io"
	"sync"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// redrawEvery is the pace of the terminal: at most ten drawings a second.
const redrawEvery = 100 * time.Millisecond

// Options say where and how a Display draws.
type Options struct {
	Mode  Mode                              // TTY, Plain, JSON or Quiet; Auto is taken as Plain
	Out   io.Writer                         // stderr, as a rule: results alone go to stdout
	Color bool                              // may colours be used
	Size  func() (width, height int)        // of the terminal, asked before each drawing; nil: 80 x 24
	Now   func() time.Time                  // the clock
	Ticks func() (<-chan time.Time, func()) // what makes the live lines move, and how to stop it; nil: a ticker
}

// A painter draws events. Only the goroutine of its Display calls it, so that one goroutine owns the screen.
type painter interface {
	event(e progress.Event)  // e.Time is set
	message(text string)     // a line of Perch's own, as the answer to Ctrl-C; it stays
	flush(now time.Time)     // draw what changed; called after each batch of events and at each tick
	close(now time.Time)     // draw the end: nothing moves afterwards, the cursor is back
	showed(line string) bool // whether a line of output was (or will at close be) shown to the user
}

// Display is a Reporter that shows what it is told. Report never blocks on the stream. Close must be called.
type Display struct {
	now     func() time.Time
	painter painter

	mu     sync.Mutex // guards queue and closed
	queue  []item
	closed bool

	wake chan struct{} // holds one token when the queue has something
	quit chan struct{}
	done chan struct{} // closed when the goroutine has drawn the end
}

type item struct {
	event   progress.Event
	message string // not "": this is a message, and event is unused
}

var _ progress.Reporter = (*Display)(nil)

// New starts a Display. Its one goroutine ends with Close.
func New(o Options) *Display {
	d := &Display{
		now:     o.Now,
		painter: newPainter(o),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	ticks := o.Ticks
	if ticks == nil {
		ticks = func() (<-chan time.Time, func()) {
			t := time.NewTicker(redrawEvery)
			return t.C, t.Stop
		}
	}
	go d.run(ticks)
	return d
}

func newPainter(o Options) painter {
	switch o.Mode {
	case TTY:
		return newTTY(o)
	case JSON:
		return &jsonPainter{out: o.Out, now: o.Now}
	case Quiet:
		return &quietPainter{out: o.Out}
	default:
		return newPlain(o.Out)
	}
}

// Report takes an event. After Close it does nothing.
func (d *Display) Report(e progress.Event) {
	if e.Time.IsZero() {
		e.Time = d.now()
	}
	d.push(item{event: e})
}

// Message shows a line of Perch's own. After Close it does nothing.
func (d *Display) Message(text string) { d.push(item{message: text}) }

func (d *Display) push(i item) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.queue = append(d.queue, i)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // a token is there already
	}
}

// Close draws the end, gives the cursor back and waits until that is done. It may be called more than once, and by
// any goroutine.
func (d *Display) Close() {
	d.mu.Lock()
	first := !d.closed
	d.closed = true
	d.mu.Unlock()
	if first {
		close(d.quit)
	}
	<-d.done
}

// Showed says whether a line that a failing thing printed has been shown. It may be called after Close only.
func (d *Display) Showed(line string) bool {
	<-d.done
	return d.painter.showed(line)
}

func (d *Display) run(newTicks func() (<-chan time.Time, func())) {
	defer close(d.done)
	ticks, stop := newTicks()
	defer stop()
	for {
		select {
		case <-d.wake:
			d.drain()
		case <-ticks:
			d.drain()
			d.painter.flush(d.now())
		case <-d.quit:
			d.drain()
			d.painter.close(d.now())
			return
		}
	}
}

// drain hands the queue to the painter, in order.
func (d *Display) drain() {
	d.mu.Lock()
	queue := d.queue
	d.queue = nil
	d.mu.Unlock()
	for _, i := range queue {
		if i.message != "" {
			d.painter.message(i.message)
			continue
		}
		d.painter.event(i.event)
	}
}
