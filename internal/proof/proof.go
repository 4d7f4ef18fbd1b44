// Package proof counts what a rollout costs those who use a service: while it goes on, a light stream of requests goes to
// the port that the service publishes on this host, each on a connection of its own as a new visitor's, and what was not
// answered is told with its reason. It measures and decides nothing: a deploy never waits for an answer but for one moment
// before it begins. It knows ports, and nothing of Compose, of releases or of the cluster.
package proof

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perch-k8s/perch/internal/ports"
)

// What the stream may cost.
const (
	interval  = 50 * time.Millisecond  // between two requests to one service: 20 a second
	shared    = 20 * time.Millisecond  // between two requests to any of them: 50 a second
	tcpPace   = 250 * time.Millisecond // between two connections to a service that does not speak HTTP: each is held
	maxOpen   = 100                    // requests to one service that wait for an answer at a time
	patience  = 5 * time.Second        // how long one answer is waited for
	beforeFor = 2 * time.Second        // the same before the rollout, for which the deploy waits
	drain     = 2 * time.Second        // how long requests go on after a rollout: the last old pods are still on their way out
)

// Target is where a service answers: a published port of this host, or a URL on another cluster.
type Target struct {
	Service string
	URL     string // of the page to get, for a service on another cluster; "": Port
	Port    int32  // of this host, at 127.0.0.1
	Inside  int32  // of the container
	HTTP    bool   // it is likely to answer HTTP
}

// Provable tells whether anything can be asked of the port without harm. In a known protocol a connection without a word is
// a mistake: the server writes it into its log, or counts it until it locks the address out, as MySQL does
// (max_connect_errors). It would tell little of a database anyway.
func (t Target) Provable() bool { return t.HTTP || !ports.WellKnown(t.Inside) }

// Prover sends requests to services while they roll.
type Prover struct {
	streams []*stream
	skipped []Service
	running sync.WaitGroup
	cancel  func() // ends what still goes on from before the rollout
}

// Open asks each target once, side by side and for at most some seconds, whether it serves now, and how: there is nothing
// to lose where nothing answers. No request is sent after that until Begin.
func Open(ctx context.Context, targets []Target) *Prover {
	ctx, cancel := context.WithCancel(ctx)
	p := &Prover{cancel: cancel}
	streams, refusals := make([]*stream, len(targets)), make([]string, len(targets))
	var asking sync.WaitGroup
	for i, t := range targets {
		asking.Go(func() { streams[i], refusals[i] = before(ctx, t) })
	}
	asking.Wait()
	for i, t := range targets {
		if streams[i] == nil {
			p.skipped = append(p.skipped, Service{Service: t.Service, Skipped: refusals[i]})
			continue
		}
		p.streams = append(p.streams, streams[i])
	}
	for _, s := range p.streams {
		s.every = pace(s.every, len(p.streams))
	}
	return p
}

// pace is how far apart the requests to one of so many services are, which share what all of them may cost.
func pace(own time.Duration, services int) time.Duration {
	return max(own, time.Duration(services)*shared)
}

// Begin starts the stream to a service, which is about to be changed. It returns at once, and does nothing for a service
// that is not a target or has begun.
func (p *Prover) Begin(ctx context.Context, service string) {
	for _, s := range p.streams {
		if s.service != service {
			continue
		}
		s.once.Do(func() {
			s.begun = true
			p.running.Go(func() { s.run(ctx) })
		})
	}
}

// End says that a service's rollout is over. Its stream goes on for as long as its old pods may still be leaving.
func (p *Prover) End(service string) {
	for _, s := range p.streams {
		if s.service == service {
			s.end()
		}
	}
}

// Close ends all streams, in the time that End gives them, and returns what was counted: nil when no service began to
// roll. When ctx of Begin ends they end at once, and what was not answered by then does not count.
func (p *Prover) Close() *Result {
	for _, s := range p.streams {
		s.end()
	}
	p.running.Wait()
	defer p.cancel()
	if !slices.ContainsFunc(p.streams, func(s *stream) bool { return s.begun }) {
		p.cancel()
	}
	var all []*tally
	r := &Result{Services: []Service{}}
	for _, s := range p.streams {
		err := s.known()
		if !s.begun {
			continue
		}
		if err != nil {
			p.skipped = append(p.skipped, Service{Service: s.service, Skipped: unanswered(err)})
			continue
		}
		all = append(all, &s.tally)
		r.Services = append(r.Services, Service{Service: s.service, URL: s.url, Counts: s.tally.counts(), Failures: s.tally.reasons()})
	}
	if len(r.Services)+len(p.skipped) == 0 {
		return nil
	}
	r.Counts = merge(all).counts()
	r.Services = append(r.Services, p.skipped...)
	slices.SortFunc(r.Services, func(a, b Service) int { return strings.Compare(a.Service, b.Service) })
	return r
}

// stream is the requests to one service.
type stream struct {
	service string
	url     string
	probe   probe
	every   time.Duration
	once    sync.Once
	begun   bool
	end     func()
	ended   chan struct{}
	drain   time.Duration // how long requests go on after that
	later   <-chan error  // whether it served before, where that takes a while to know; nil: it did

	tally tally
}

func newStream(t Target, url string, p probe, every time.Duration) *stream {
	ended := make(chan struct{})
	return &stream{
		service: t.Service, url: url, probe: p, every: every, drain: drain, ended: ended, end: sync.OnceFunc(func() { close(ended) }),
	}
}

// known waits until it is known whether the service served before; the error says why it did not.
func (s *stream) known() error {
	if s.later == nil {
		return nil
	}
	if err := <-s.later; !errors.Is(err, errClosed) {
		return err
	}
	return nil
}

// run asks at a steady pace, whether answers come or not, and returns when the last one has come or was given up.
func (s *stream) run(ctx context.Context) {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, maxOpen)
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	ended, over := s.ended, make(<-chan time.Time)
	for {
		select {
		case slots <- struct{}{}:
			open.Go(func() {
				defer func() { <-slots }()
				s.ask(ctx)
			})
		default: // too many wait: one more would only be a load
		}
		select {
		case <-tick.C:
		case <-ended:
			ended = nil
			timer := time.NewTimer(s.drain)
			defer timer.Stop()
			over = timer.C
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) ask(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	took, err := s.probe.ask(limited)
	if ctx.Err() == nil {
		s.tally.add(took, err)
	}
}
