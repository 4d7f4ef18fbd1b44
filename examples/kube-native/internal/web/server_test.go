package web_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
	"github.com/perch-k8s/perch/examples/kube-native/internal/web"
)

// slowStore answers a page when it is told to.
type slowStore struct {
	store
	entered chan struct{}
	release chan struct{}
}

func (s *slowStore) Greetings(context.Context) ([]database.Greeting, error) {
	s.entered <- struct{}{}
	<-s.release
	return nil, nil
}

// serving runs an app and returns its URL, what ends it, and its result.
func serving(t *testing.T, app *web.App, d web.Drain) (base string, stop context.CancelFunc, result chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	result = make(chan error, 1)
	go func() { result <- app.Serve(ctx, d, l) }()
	return "http://" + l.Addr().String(), stop, result
}

// fetch keeps its connection when the server lets it.
func fetch(t *testing.T, client *http.Client, url string) (status int, body string, leaving bool, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", false, err
	}
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return response.StatusCode, string(content), response.Close, err
}

// until calls condition until it is true; the test's own deadline is the limit.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("not so in 20 s: %s", what)
		}
	}
}

// A pod that leaves still answers for a moment, says that it is not ready, and sends its clients elsewhere.
func TestDrainingAnswersAndSendsClientsAway(t *testing.T) {
	t.Parallel()
	app, _ := newApp(&store{})
	base, stop, result := serving(t, app, web.Drain{Delay: time.Second, Timeout: 10 * time.Second})
	client := &http.Client{Transport: &http.Transport{}}
	until(t, "serving", func() bool { _, _, _, err := fetch(t, client, base+"/healthz"); return err == nil })
	if _, _, leaving, err := fetch(t, client, base+"/"); leaving || err != nil {
		t.Errorf("before: leaving %v, error %v", leaving, err)
	}
	stop()
	until(t, "draining", func() bool {
		status, body, leaving, err := fetch(t, client, base+"/ready")
		return err == nil && leaving && status == http.StatusServiceUnavailable && body == "draining\n"
	})
	if status, _, leaving, err := fetch(t, client, base+"/"); status != http.StatusOK || !leaving || err != nil {
		t.Errorf("draining: status %d, leaving %v, error %v", status, leaving, err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if _, _, _, err := fetch(t, client, base+"/"); err == nil {
		t.Error("still answers after Serve returned")
	}
}

func TestRequestUnderWayIsAnswered(t *testing.T) {
	t.Parallel()
	s := &slowStore{entered: make(chan struct{}), release: make(chan struct{})}
	app, _ := newApp(s)
	base, stop, result := serving(t, app, web.Drain{Timeout: 20 * time.Second})
	answered := make(chan string, 1)
	go func() {
		_, body, _, err := fetch(t, &http.Client{Transport: &http.Transport{}}, base+"/")
		if err != nil {
			body = err.Error()
		}
		answered <- body
	}()
	<-s.entered
	stop()
	until(t, "closed to new connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			return true
		}
		_ = c.Close()
		return false
	})
	close(s.release)
	if body := <-answered; !strings.Contains(body, "web-2") {
		t.Errorf("got %s", body)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestRequestThatTakesTooLongIsCutAndReported(t *testing.T) {
	t.Parallel()
	s := &slowStore{entered: make(chan struct{}), release: make(chan struct{})}
	app, _ := newApp(s)
	base, stop, result := serving(t, app, web.Drain{Timeout: 50 * time.Millisecond})
	answered := make(chan error, 1)
	go func() {
		_, _, _, err := fetch(t, &http.Client{Transport: &http.Transport{}}, base+"/")
		answered <- err
	}()
	<-s.entered
	stop()
	if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
	close(s.release)
}

func TestListenerThatFailsEndsTheServer(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	app := &web.App{Store: &store{}, Log: slog.New(slog.NewJSONHandler(&log, nil))}
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	if err := listeners[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := app.Serve(t.Context(), web.Drain{Timeout: time.Second}, listeners...); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got error %v", err)
	}
	if _, err := listeners[1].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the other listener: %v", err)
	}
}
