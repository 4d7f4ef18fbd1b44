package kubernetes

import (
	"context"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
)

// gate is what the node's parts reach the API server through. It lets requests through once the server serves: the
// parts are built while the server still starts, and without the gate their first request would fail and be repeated
// after a back-off of up to a second. And it ends their watches when the node stops: some parts never do, and the
// server would wait for them.
type gate struct {
	open   <-chan struct{}
	closed context.Context
}

// wrap makes the clients of a configuration go through the gate.
func (g gate) wrap(c *rest.Config) {
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return gated{g, next} })
}

type gated struct {
	gate gate
	next http.RoundTripper
}

// RoundTrip sends the request when the gate is open.
func (g gated) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-g.gate.open:
	case <-g.gate.closed.Done():
		return nil, context.Cause(g.gate.closed)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if !r.URL.Query().Has("watch") {
		return g.next.RoundTrip(r)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	unlink := context.AfterFunc(g.gate.closed, func() { cancel(context.Cause(g.gate.closed)) })
	resp, err := g.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		unlink()
		cancel(nil)
		return resp, err
	}
	resp.Body = &watched{ReadCloser: resp.Body, done: func() { unlink(); cancel(nil) }}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport behind, to close its idle connections.
func (g gated) WrappedRoundTripper() http.RoundTripper { return g.next }

// watched is the body of a watch, which ends with the gate.
type watched struct {
	io.ReadCloser
	done func()
}

func (w *watched) Close() error {
	defer w.done()
	return w.ReadCloser.Close()
}
