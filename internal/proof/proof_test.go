package proof

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve gives a handler a port of 127.0.0.1 and the target that it is.
func serve(t *testing.T, handler http.HandlerFunc) (Target, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return target(t, s.Listener, true), s
}

func target(t *testing.T, l net.Listener, http bool) Target {
	t.Helper()
	_, text, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return Target{Service: "web", Port: int32(port), Inside: 8080, HTTP: http} //nolint:gosec // a port
}

// takes is a TCP server that does with each connection what it is told.
func takes(t *testing.T, act func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				act(conn)
			})
		}
	})
	return l
}

func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// asked waits until so many requests have come.
func asked(t *testing.T, seen *atomic.Int64, n int64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); seen.Load() < n; {
		if time.Now().After(end) {
			t.Fatalf("only %d requests came", seen.Load())
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func TestNothingFails(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	var agent atomic.Value
	one, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		agent.Store(r.UserAgent())
		ok(w, r)
	})
	p := Open(t.Context(), []Target{one})
	if got := seen.Load(); got != 1 {
		t.Errorf("%d requests came before the rollout, want 1", got)
	}
	p.Begin(t.Context(), "web")
	p.Begin(t.Context(), "web")
	p.Begin(t.Context(), "another")
	asked(t, &seen, 10)
	p.End("web")
	began := time.Now()
	r := p.Close()
	if took := time.Since(began); took < drain/2 || took > drain+patience {
		t.Errorf("it went on for %s after the end, want some %s", took, drain)
	}
	if r.Failed > 0 || int64(r.Requests) != seen.Load()-1 || r.P99 <= 0 {
		t.Errorf("counted %+v of %d requests", r, seen.Load()-1)
	}
	if len(r.Services) != 1 || r.Services[0].Counts != r.Counts || r.Services[0].URL != "http://127.0.0.1:"+strconv.Itoa(int(one.Port))+"/" {
		t.Errorf("the services are %+v", r.Services)
	}
	if got := agent.Load(); got != userAgent {
		t.Errorf("the requests say that they are of %v", got)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	var seen, broken atomic.Int64
	one, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := seen.Add(1); {
		case n <= 3:
			ok(w, r)
		case n == 4:
			broken.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		case n == 5:
			broken.Add(1)
			panic(http.ErrAbortHandler) // the connection ends without an answer
		case n == 6:
			broken.Add(1)
			w.Header().Set("Content-Length", "100")
			ok(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	p := Open(t.Context(), []Target{one})
	p.Begin(t.Context(), "web")
	asked(t, &seen, 8)
	r := p.Close()
	if r.Failed != 3 || r.Services[0].Failed != 3 || int64(r.Requests) != seen.Load()-1 {
		t.Errorf("counted %+v of %d requests, of which 3 failed", r, seen.Load()-1)
	}
	const want = "1 × 503 Service Unavailable, 1 × closed without a word, 1 × the answer was cut off"
	if got := r.Services[0].Why(); got != want {
		t.Errorf("the reasons are %q, want %q", got, want)
	}
}

// TestBefore is about what serves before: what that is decides what counts as failed.
func TestBefore(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)
	broken, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	lost, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	endless, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	wait := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	greet := func(c net.Conn) { _, _ = io.WriteString(c, "220 hello\r\n"); wait(c) }
	hang := func(net.Conn) {}
	late := func(c net.Conn) { // as a published port behind which there is no pod
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		wait(c)
		reset(c)
	}
	gone := takes(t, wait)
	_ = gone.Close()
	tests := map[string]struct {
		target Target
		scheme string // "" when it must be skipped
		why    string
	}{
		"a server that always fails":   {target: broken, scheme: "http"},
		"a redirect to nowhere":        {target: lost, scheme: "http"},
		"an answer without an end":     {target: endless, scheme: "http"},
		"a page of another cluster":    {target: Target{Service: "web", URL: secure.URL + "/page"}, scheme: "https"},
		"nobody is at that page":       {target: Target{Service: "web", URL: "http://127.0.0.1:1/"}, why: "it did not answer before: connection refused"},
		"HTTPS":                        {target: target(t, secure.Listener, true), scheme: "https"},
		"another protocol, as HTTP":    {target: target(t, takes(t, greet), true), scheme: "tcp"},
		"another protocol":             {target: target(t, takes(t, greet), false), scheme: "tcp"},
		"a protocol that waits":        {target: target(t, takes(t, wait), false), scheme: "tcp"},
		"it closes without a word":     {target: target(t, takes(t, hang), false), scheme: "tcp"},
		"it takes and resets later":    {target: target(t, takes(t, late), false), why: "it did not answer before: connection reset"},
		"nobody listens, for HTTP":     {target: target(t, gone, true), why: "it did not answer before: connection refused"},
		"nobody listens":               {target: target(t, gone, false), why: "it did not answer before: connection refused"},
		"it takes and resets":          {target: target(t, takes(t, reset), false), why: "it did not answer before: connection reset"},
		"it takes and resets, as HTTP": {target: target(t, takes(t, reset), true), why: "it did not answer before: connection reset"},
		"it never answers, as HTTP":    {target: target(t, takes(t, wait), true), why: "it did not answer before: no answer in time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Open(t.Context(), []Target{test.target})
			p.Begin(t.Context(), "web")
			r := p.Close()
			got := r.Services[0]
			if test.scheme == "" {
				if got.Skipped != test.why || got.Requests > 0 {
					t.Errorf("got %+v, want none, because %q", got, test.why)
				}
				return
			}
			if !strings.HasPrefix(got.URL, test.scheme+"://127.0.0.1:") || got.Skipped != "" || got.Requests == 0 || got.Failed > 0 {
				t.Errorf("got %+v, want requests by %s, none of which failed", got, test.scheme)
			}
		})
	}
}

func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	one, server := serve(t, func(w http.ResponseWriter, r *http.Request) { seen.Add(1); ok(w, r) })
	p := Open(t.Context(), []Target{one})
	p.Begin(t.Context(), "web")
	asked(t, &seen, 3)
	server.Close()
	if r := p.Close(); r.Failed == 0 || r.Failed == r.Requests {
		t.Errorf("counted %+v, want some served and some failed", r)
	}
}

// TestEndsWithContext wants a stream that is cut off to end at once, and what was under way not to count as failed.
func TestEndsWithContext(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	one, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) > 3 {
			<-r.Context().Done()
			return
		}
		ok(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	p := Open(ctx, []Target{one})
	p.Begin(ctx, "web")
	asked(t, &seen, 5)
	cancel()
	began := time.Now()
	r := p.Close()
	if took := time.Since(began); took > drain {
		t.Errorf("it went on for %s", took)
	}
	if r.Failed > 0 || r.Requests != 2 {
		t.Errorf("counted %+v, want the two that were answered", r)
	}
}

func TestNothingRolls(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	one, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { seen.Add(1); ok(w, r) })
	if r := Open(t.Context(), nil).Close(); r != nil {
		t.Errorf("without targets: %+v", r)
	}
	if r := Open(t.Context(), []Target{one}).Close(); r != nil || seen.Load() != 1 {
		t.Errorf("nothing began: %+v after %d requests", r, seen.Load())
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	tests := []struct {
		own      time.Duration
		services int
		want     time.Duration
	}{
		{interval, 1, 50 * time.Millisecond},
		{interval, 2, 50 * time.Millisecond},
		{interval, 10, 200 * time.Millisecond},
		{time.Second, 10, time.Second}, // it takes so long for each
	}
	for _, test := range tests {
		if got := pace(test.own, test.services); got != test.want {
			t.Errorf("%s of %d services is %s, want %s", test.own, test.services, got, test.want)
		}
	}
}

// TestSlowServer wants a server that takes long for each request to be asked less often.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	const long = 200 * time.Millisecond
	slow, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(long):
		case <-r.Context().Done():
		}
		ok(w, r)
	})
	if p := Open(t.Context(), []Target{slow}); p.streams[0].every < long {
		t.Errorf("it is asked every %s", p.streams[0].every)
	}
}

func TestProvable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		target Target
		want   bool
	}{
		"a page":          {Target{HTTP: true, Inside: 8080}, true},
		"any TCP":         {Target{Inside: 7777}, true},
		"MySQL":           {Target{Inside: 3306}, false},
		"said to be HTTP": {Target{HTTP: true, Inside: 3306}, true},
	}
	for name, test := range tests {
		if got := test.target.Provable(); got != test.want {
			t.Errorf("%s can be asked: %t", name, got)
		}
	}
}
