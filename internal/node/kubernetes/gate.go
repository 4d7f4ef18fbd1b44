package kubernetes

import (
	"net/http"

	"k8s.io/client-go/rest"
)

// gate lets requests through once the API server serves. The parts of the node are built while the API server still
// starts; without the gate their first request would fail and be repeated after a back-off of up to a second.
type gate struct{ open <-chan struct{} }

// wrap makes the clients of a configuration wait.
func (g gate) wrap(c *rest.Config) {
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return gated{g, next} })
}

type gated struct {
	gate gate
	next http.RoundTripper
}

// RoundTrip sends the request when the gate is open. A question after the API server's health is answered by the
// gate itself: kube-controller-manager asks it once a second before it starts, and the API server calls itself
// unhealthy until the default RBAC roles are written, a second or more after it serves whoever needs no such role.
func (g gated) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-g.gate.open:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if r.Method == http.MethodGet && r.URL.Path == "/healthz" {
		return &http.Response{
			Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: http.NoBody, Request: r,
		}, nil
	}
	return g.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport behind, to close its idle connections.
func (g gated) WrappedRoundTripper() http.RoundTripper { return g.next }
