package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// relay is a gate before the registry: another port of its address, where it answers with its own certificate.
func (w *world) relay(t *testing.T) *gate {
	t.Helper()
	return newGate(t, net.JoinHostPort(w.registry.ip, "0"), w.space.outside.Listen, func(ctx context.Context) (net.Conn, error) {
		return w.space.outside.Dial(ctx, "tcp", w.registry.host)
	})
}

// front is a proxy before the registry, as many have one, with a certificate of its own. It answers what refuse has a status
// for by itself. The answer is its HOST:PORT.
func (w *world) front(t *testing.T, certificate tls.Certificate, refuse func(r *http.Request) int) string {
	t.Helper()
	l, err := w.space.outside.Listen(t.Context(), net.JoinHostPort(w.registry.ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{
			TLSClientConfig: clientTLS(w.ca.trusting(), w.registry.ip),
			DialContext:     w.space.outside.Dial,
		},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "https", Host: w.registry.host})
			p.Out.Host = p.In.Host // or its answers would lead past this proxy
		},
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if status := refuse(r); status != 0 {
				http.Error(rw, http.StatusText(status), status)
				return
			}
			proxy.ServeHTTP(rw, r)
		}),
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}
