package metrics

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// Pods reach the port, so the certificate is all that keeps them out; whom it lets in may speak for any user.
func TestOnlyTheAggregatorIsLetIn(t *testing.T) {
	files, err := pki.Ensure(t.TempDir(), pki.Request{NodeName: "node-1", NodeIP: net.IPv4(192, 0, 2, 7), Server: "https://127.0.0.1:6443", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Cert: files.Cert(pki.Metrics), Key: files.Key(pki.Metrics), FrontProxyCA: files.Cert(pki.FrontProxyCA)}
	config, err := s.onlyAggregator()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = config
	server.StartTLS()
	defer server.Close()
	for name, want := range map[string]bool{"": false, pki.Admin: false, pki.KubeletClient: false, pki.FrontProxy: true} {
		c := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the client is what is looked at
		if name != "" {
			pair, err := tls.LoadX509KeyPair(files.Cert(name), files.Key(name))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		if let := err == nil; let != want {
			t.Errorf("with the certificate %q: let in %t (%v)", name, let, err)
		}
	}
}
