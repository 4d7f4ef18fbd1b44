package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Drain is how a server ends once its context is done.
//
//	serving --done--> draining: answers, but not ready, and asks clients to reconnect --Delay--> closing --Timeout--> cut
type Drain struct {
	Delay   time.Duration // still accepting: kube-proxy and balancers need a moment to send requests elsewhere
	Timeout time.Duration // for what is under way after that; Delay + Timeout must be less than the grace period
}

// Serve answers on all listeners until ctx is done, and then drains. It returns nil when every request was answered. The
// listeners are closed in any case.
func (a *App) Serve(ctx context.Context, d Drain, listeners ...net.Listener) error {
	server := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the usual balancer's, so that it is the one to close
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	var cause error
	ended := 0
	select {
	case <-ctx.Done():
		a.Log.Info("draining", "delay", d.Delay.String(), "timeout", d.Timeout.String())
		a.draining.Store(true)
		time.Sleep(d.Delay)
	case cause = <-failed:
		ended++
	}
	// ctx is done already, so the time for closing is counted from here.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.Timeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		cause = errors.Join(cause, fmt.Errorf("requests were cut off after %s: %w", d.Timeout, err), server.Close())
	}
	for ; ended < len(listeners); ended++ {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			cause = errors.Join(cause, err)
		}
	}
	return cause
}

// leaving tells clients that hold connections open to come back on a new one, which will lead to another pod. Closing
// idle connections instead, as SetKeepAlivesEnabled does, would lose a request that is just on its way.
func (a *App) leaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// logged writes one line a request. Probes come every few seconds to every pod: they are of interest only to debug.
func (a *App) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		recorder := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		level := slog.LevelInfo
		if r.URL.Path == "/ready" || r.URL.Path == "/healthz" {
			level = slog.LevelDebug
		}
		a.Log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", recorder.status,
			"milliseconds", time.Since(start).Milliseconds())
	})
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer underneath.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
