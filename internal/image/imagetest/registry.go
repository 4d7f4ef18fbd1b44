package imagetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // by its name in the configuration
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // likewise
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// User and Password are the login of a Registry.
const (
	User     = "ann"
	Password = "s3cret"
)

// Registry is the distribution project's registry on 127.0.0.1, with its images in a folder. It wants a login, and speaks TLS with
// a certificate of an authority of its own.
type Registry struct {
	Host   string // 127.0.0.1:PORT
	Certs  string // a folder as /etc/docker/certs.d, in which its authority is
	Docker string // a Docker configuration folder with its login

	mu       sync.Mutex
	disturb  func(w http.ResponseWriter, r *http.Request) (done bool)
	requests []string
	narrow   atomic.Bool
}

// StartRegistry starts a registry that ends with the test.
func StartRegistry(t *testing.T) *Registry {
	t.Helper()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := write(t, filepath.Join(dir, "htpasswd"), User+":"+string(hash)+"\n")
	config := &configuration.Configuration{
		Storage: configuration.Storage{"filesystem": {"rootdirectory": filepath.Join(dir, "data")}, "delete": {"enabled": true}},
		Auth:    configuration.Auth{"htpasswd": {"realm": "test", "path": users}},
	}
	config.HTTP.Secret = "test"
	config.Catalog.MaxEntries = 100
	logrus.SetOutput(io.Discard) // the registry's log is the process's
	app := handlers.NewApp(context.WithoutCancel(t.Context()), config)

	g := &Registry{Certs: filepath.Join(dir, "certs.d"), Docker: filepath.Join(dir, "docker")}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.disturbed(w, r) {
			app.ServeHTTP(w, r)
		}
	}))
	authority, certificate := certificates(t)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Listener = lines{s.Listener, &g.narrow}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	g.Host = strings.TrimPrefix(s.URL, "https://")
	write(t, filepath.Join(g.Certs, g.Host, "ca.crt"), authority)
	g.Login(t, Password)
	return g
}

// Login writes the Docker configuration anew, with that password.
func (g *Registry) Login(t *testing.T, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(User + ":" + password))
	write(t, filepath.Join(g.Docker, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, g.Host, auth))
}

// Disturb has f see each request first, from any number of goroutines; done says that it was answered. Nil ends that.
func (g *Registry) Disturb(f func(w http.ResponseWriter, r *http.Request) (done bool)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.disturb = f
}

// Narrow has connections of now on hold little that the registry has not read.
func (g *Registry) Narrow() { g.narrow.Store(true) }

// Requests are what was asked since the last call, as "PUT /v2/…".
func (g *Registry) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.requests
	g.requests = nil
	return out
}

func (g *Registry) disturbed(w http.ResponseWriter, r *http.Request) bool {
	g.mu.Lock()
	g.requests = append(g.requests, r.Method+" "+r.URL.Path)
	f := g.disturb
	g.mu.Unlock()
	return f != nil && f(w, r)
}

// lines accepts connections. Narrow ones have little room for what nobody has read yet, so that a slow reader is seen as one.
type lines struct {
	net.Listener
	narrow *atomic.Bool
}

func (l lines) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok && l.narrow.Load() {
		_ = t.SetReadBuffer(64 << 10)
	}
	return c, err
}

// certificates are an authority, as PEM, and a certificate of it for 127.0.0.1.
func certificates(t *testing.T) (authority string, server tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	ca, caKey := sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
	}, nil, nil)
	c, key := sign(&x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, ca, caKey)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
