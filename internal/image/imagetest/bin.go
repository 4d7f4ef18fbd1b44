package imagetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// binaries builds what a node runs, once for a test binary.
func binaries(t *testing.T) string {
	t.Helper()
	dir, err := buildBinaries()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

//nolint:gochecknoglobals // once for a test binary, however many nodes it starts
var buildBinaries = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "perch-imagetest") // kept: go build only checks it the next time
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, b := range []struct{ pkg, cgo, tags string }{
		{"github.com/containerd/containerd/v2/cmd/containerd", "0", ""},
		{"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "0", ""},
		{"github.com/opencontainers/runc", "1", "seccomp netgo osusergo"},
	} {
		cmd := exec.Command("go", "build", "-tags", b.tags, "-o", filepath.Join(dir, filepath.Base(b.pkg)), b.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", &buildError{b.pkg, string(out)}
		}
	}
	return dir, nil
})

type buildError struct{ pkg, out string }

func (e *buildError) Error() string { return "go build " + e.pkg + ":\n" + e.out }

// waitForConnection returns when somebody waits to be accepted.
func waitForConnection(l *os.File) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(l.Fd()), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
