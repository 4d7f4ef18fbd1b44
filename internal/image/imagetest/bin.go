package imagetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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

// BaseImage is an archive, as docker save writes it, of an image with a shell and a few commands of this machine.
func BaseImage(t *testing.T, name string) []byte {
	t.Helper()
	layer := &bytes.Buffer{}
	w := tar.NewWriter(layer)
	files := map[string]string{}
	for _, c := range []string{"sh", "ls", "cat", "sleep", "cp", "id", "stat", "env", "mkdir"} {
		path, err := exec.LookPath(c)
		if err != nil {
			t.Fatal(err)
		}
		files["/bin/"+c] = path
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(f, "/") {
				files[f] = f
			}
		}
	}
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, strings.TrimPrefix(to, "/"), data, 0o755)
	}
	closeTar(t, w)
	sum := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	out := &bytes.Buffer{}
	w = tar.NewWriter(out)
	write(t, w, "config.json", config, 0o644)
	write(t, w, "layer.tar", layer.Bytes(), 0o644)
	write(t, w, "manifest.json", manifest, 0o644)
	closeTar(t, w)
	return out.Bytes()
}

func write(t *testing.T, w *tar.Writer, name string, data []byte, mode int64) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

func closeTar(t *testing.T, w *tar.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
