package ping_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/ping"
)

func answer(t *testing.T, l net.Listener, status int) {
	t.Helper()
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }),
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{http.StatusOK: "", http.StatusTeapot: "answered 418 I'm a teapot"} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := ping.Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		answer(t, l, status)
		err = ping.Ask(t.Context(), path)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d: got error %v, want %q", status, err, want)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	if err := ping.Ask(t.Context(), filepath.Join(t.TempDir(), "s")); err == nil {
		t.Error("no error")
	}
}

func TestSocketOfAKilledProcessIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := ping.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, l, http.StatusOK)
	if err := ping.Ask(t.Context(), path); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

func TestFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ping.Listen(t.Context(), path); err == nil {
		t.Error("no error")
	}
	if content, _ := os.ReadFile(path); string(content) != "precious" {
		t.Errorf("the file holds %q", content)
	}
}
