// Package component runs the parts of one process in a visible order: each starts when the parts it needs are ready,
// parts that do not need each other start side by side, and when one ends, all end, in reverse.
//
//	waiting ── needs ready ──> starting ── Ready returns ──> ready ── ctx ends, or any part ends ──> exited
//
// It knows nothing of Kubernetes, and never ends the process.
package component

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// State is where a component stands.
type State string

// The states of a component, in their order.
const (
	Starting State = "starting"
	Ready    State = "ready"
	Exited   State = "exited"
)

// Event is one change of one component. Error is set with Exited when it was not asked to end, or was not ready.
type Event struct {
	Component string
	State     State
	Error     string
}

// Component is one part of the process. Its methods are called once each, by Run.
type Component interface {
	// Name is how it is called in events and errors.
	Name() string
	// Init prepares what needs no other component, and starts nothing.
	Init(ctx context.Context) error
	// Run runs it until ctx ends, which is how it is stopped; what it returns then does not count. Returning
	// earlier, with or without an error, is a failure.
	Run(ctx context.Context) error
	// Ready waits until it serves. It is called at the same time as Run, and gives up when ctx ends, with an error
	// that says what was missing last.
	Ready(ctx context.Context) error
}

// Step is a component in its place: it is run when the components it needs are ready. They stand before it in the list.
type Step struct {
	Component
	Needs []string
}

// Options are the limits of a run. Zero means none.
type Options struct {
	StartTimeout time.Duration // for one more to become ready, until everything is
	StopTimeout  time.Duration // for each component to end when it is asked to, before the next one is asked
}

// Run runs the steps until ctx ends (it returns nil then) or one of them fails (it returns that error, with the
// component's name). Before it returns, everything was asked to stop, the last of the list first, and has either
// stopped or had its time. report may be called by several goroutines at once.
func Run(ctx context.Context, steps []Step, o Options, report func(Event)) error {
	if err := check(steps); err != nil {
		return err
	}
	stopping, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	parts := make([]*part, len(steps))
	ready := map[string]<-chan struct{}{}
	progress := make(chan struct{}, len(steps))
	for i, s := range steps {
		p := &part{step: s, ready: make(chan struct{}), done: make(chan struct{}), progress: progress, stopping: stopping, fail: fail, report: report}
		for _, n := range s.Needs {
			p.needs = append(p.needs, need{n, ready[n]})
		}
		// Its context is not a child of ctx: when ctx ends, parts end in order, not all at once.
		p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
		ready[s.Name()] = p.ready
		parts[i] = p
	}
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(p.run)
	}
	if o.StartTimeout > 0 {
		all.Go(func() { watchStart(stopping, parts, progress, o.StartTimeout, fail) })
	}
	<-stopping.Done()
	stopAll(parts, o.StopTimeout)
	if ctx.Err() != nil && errors.Is(context.Cause(stopping), context.Cause(ctx)) {
		return nil
	}
	return context.Cause(stopping)
}

// check refuses two components of one name, and a need that does not stand before.
func check(steps []Step) error {
	var names []string
	for _, s := range steps {
		for _, n := range s.Needs {
			if !slices.Contains(names, n) {
				return fmt.Errorf("component %s needs %s, which does not stand before it", s.Name(), n)
			}
		}
		if slices.Contains(names, s.Name()) {
			return fmt.Errorf("component %s stands twice in the list", s.Name())
		}
		names = append(names, s.Name())
	}
	return nil
}

// watchStart fails the run when parts are missing and none became ready for the time of the limit, and says what the first
// of them waits for. A slow machine may take longer than that for all of them.
func watchStart(ctx context.Context, parts []*part, progress <-chan struct{}, limit time.Duration, fail func(error)) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for range parts {
		select {
		case <-progress:
			timer.Reset(limit)
		case <-ctx.Done():
			return
		case <-timer.C:
			giveUpAll(ctx, parts, limit, fail)
			return
		}
	}
}

// giveUpAll asks the parts that are not ready to give up, one by one: their own Ready says what it waits for.
func giveUpAll(ctx context.Context, parts []*part, limit time.Duration, fail func(error)) {
	for _, p := range parts {
		select {
		case <-p.ready:
			continue
		default:
		}
		p.giveUp(fmt.Errorf("%s: not ready within %s", p.step.Name(), limit), fail)
		select {
		case <-p.ready: // at the last moment
		case <-ctx.Done():
			return
		}
	}
}

// stopAll stops the parts, the last first, and lets those be that do not end.
func stopAll(parts []*part, limit time.Duration) {
	for _, p := range slices.Backward(parts) {
		p.stop()
		if limit <= 0 {
			<-p.done
			continue
		}
		timer := time.NewTimer(limit)
		select {
		case <-p.done:
		case <-timer.C:
		}
		timer.Stop()
	}
}

type need struct {
	name  string
	ready <-chan struct{}
}

// part is a step while it runs.
type part struct {
	step     Step
	needs    []need
	ctx      context.Context // ends when this part is to stop
	stop     context.CancelFunc
	ready    chan struct{}   // closed when it serves
	done     chan struct{}   // closed when it has ended, or will never begin
	progress chan<- struct{} // gets one when it serves
	stopping context.Context
	fail     context.CancelCauseFunc
	report   func(Event)

	mu        sync.Mutex
	waiting   context.CancelFunc // ends the wait for Ready
	lateError error              // what to say then

	notReady error // what it still waited for when it was asked to stop
}

func (p *part) run() {
	defer close(p.done)
	name := p.step.Name()
	if err := Guard(func() error { return p.step.Init(p.ctx) }); err != nil {
		p.exited(err)
		return
	}
	for _, n := range p.needs {
		select {
		case <-n.ready:
		case <-p.stopping.Done():
			return
		}
	}
	p.report(Event{Component: name, State: Starting})
	waitCtx, cancel := context.WithCancel(p.ctx)
	p.mu.Lock()
	p.waiting = cancel
	late := p.lateError
	p.mu.Unlock()
	if late != nil {
		cancel()
	}
	var waiter sync.WaitGroup
	waiter.Go(func() { p.waitReady(waitCtx) })
	err := Guard(func() error { return p.step.Run(p.ctx) })
	cancel()
	waiter.Wait()
	p.exited(err)
}

// waitReady waits until the part serves and says so.
func (p *part) waitReady(ctx context.Context) {
	err := Guard(func() error { return p.step.Ready(ctx) })
	if err == nil {
		p.report(Event{Component: p.step.Name(), State: Ready})
		close(p.ready)
		p.progress <- struct{}{}
		return
	}
	p.mu.Lock()
	late := p.lateError
	p.mu.Unlock()
	switch {
	case late != nil:
		p.fail(fmt.Errorf("%w: %w", late, err))
	case ctx.Err() == nil:
		p.fail(fmt.Errorf("%s: %w", p.step.Name(), err))
	default:
		p.notReady = err
	}
}

// giveUp ends the wait for a part that is late.
func (p *part) giveUp(err error, fail func(error)) {
	p.mu.Lock()
	p.lateError = err
	waiting := p.waiting
	p.mu.Unlock()
	if waiting == nil { // it never began: something it needs is not ready, which stands before it, or Init hangs
		fail(err)
		return
	}
	waiting()
}

// exited reports the end of the part, and makes it everybody's unless that had begun.
func (p *part) exited(err error) {
	name := p.step.Name()
	if p.stopping.Err() != nil {
		e := Event{Component: name, State: Exited}
		if p.notReady != nil {
			e.Error = "was not ready: " + p.notReady.Error()
		}
		p.report(e)
		return
	}
	if err == nil {
		err = errors.New("ended without being asked to")
	}
	p.report(Event{Component: name, State: Exited, Error: err.Error()})
	p.fail(fmt.Errorf("%s: %w", name, err))
}

// Guard calls f and turns a panic into an error with its stack. A component that starts goroutines needs it in each.
func Guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}
