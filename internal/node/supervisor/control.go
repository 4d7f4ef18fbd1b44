package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perch-k8s/perch/internal/node/publisher"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

// Component is one part of the node, as it is now.
type Component struct {
	Name     string        `json:"name"`
	State    sandbox.State `json:"state"`
	PID      int           `json:"pid,omitempty"` // inside the sandbox
	Restarts int           `json:"restarts"`
	Error    string        `json:"error,omitempty"`
	Since    time.Time     `json:"since"`
}

// Status is the node as it is now.
type Status struct {
	State      sandbox.State    `json:"state"` // of the whole: starting, ready, failed, stopped
	Started    time.Time        `json:"started"`
	APIPort    int              `json:"apiPort"`
	Components []Component      `json:"components"` // sorted by name
	Published  []publisher.Port `json:"published"`  // sorted by port
}

// recorder remembers what the components told, and tells it to those who listen.
type recorder struct {
	mu        sync.Mutex
	started   time.Time
	history   []sandbox.Event // of the start, until the node was ready
	now       map[string]Component
	listeners map[chan sandbox.Event]bool
	closed    bool
	apiPort   int
	publisher *publisher.Publisher
}

func newRecorder() *recorder {
	return &recorder{started: time.Now(), now: map[string]Component{}, listeners: map[chan sandbox.Event]bool{}}
}

const (
	historySize  = 200 // events told to who comes late
	listenerSize = 256 // events that wait for a slow listener; more are dropped
)

func (r *recorder) record(e sandbox.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.now[e.Component]
	if c.Name != "" && e.State == sandbox.Starting {
		c.Restarts++
	}
	c.Name, c.State, c.Since, c.Error = e.Component, e.State, e.Time, e.Error
	if e.PID != 0 {
		c.PID = e.PID
	}
	r.now[e.Component] = c
	if len(r.history) < historySize {
		r.history = append(r.history, e)
	}
	for l := range r.listeners {
		select {
		case l <- e:
		default:
		}
	}
}

// failure is the error of a component that was given up, nil when there is none.
func (r *recorder) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, c := range r.now {
		if c.State == sandbox.Failed {
			errs = append(errs, errors.New(c.Name+": "+c.Error))
		}
	}
	return errors.Join(errs...)
}

func (r *recorder) setPublisher(p *publisher.Publisher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publisher = p
}

func (r *recorder) setAPIPort(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apiPort = port
}

func (r *recorder) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{State: sandbox.Starting, Started: r.started, APIPort: r.apiPort}
	for _, c := range r.now {
		if c.Name == Node {
			s.State = c.State
			continue
		}
		s.Components = append(s.Components, c)
	}
	slices.SortFunc(s.Components, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	if r.publisher != nil {
		s.Published = r.publisher.Ports()
	}
	return s
}

// listen returns what was recorded so far and a channel with what follows; nil when the recorder is closed.
func (r *recorder) listen() ([]sandbox.Event, chan sandbox.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := make(chan sandbox.Event, listenerSize)
	if r.closed {
		close(l)
	} else {
		r.listeners[l] = true
	}
	return slices.Clone(r.history), l
}

func (r *recorder) forget(l chan sandbox.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.listeners, l)
}

// close ends every listener after it has got what was recorded.
func (r *recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for l := range r.listeners {
		close(l)
	}
	clear(r.listeners)
}

// serveControl answers on the control socket. The returned function ends that, when every answer was given.
func (s *supervisor) serveControl() (finish func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(s.status.status())
	})
	mux.HandleFunc("GET /events", s.streamEvents)
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		s.stop(nil)
		s.streamEvents(w, r)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(s.Control) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
	}
}

// streamEvents writes an event a line, from the first on, until the node is gone.
func (s *supervisor) streamEvents(w http.ResponseWriter, r *http.Request) {
	past, events := s.status.listen()
	defer s.status.forget(events)
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	for _, e := range past {
		_ = out.Encode(e)
	}
	_ = flush.Flush()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			_ = out.Encode(e)
			_ = flush.Flush()
		case <-r.Context().Done():
			return
		}
	}
}
