package kube

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/fault"
)

// TestCopy copies into a "container" whose files are this machine's: the script is executed by the sh and tar there are.
func TestCopy(t *testing.T) {
	t.Parallel()
	c := connect(t, "copy")
	n := startNode(t, c, "node-copy")
	pod := newPod(t, c, "files", n.name, nil, nil, running(0))
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("gone/deep/file", "x")
	write("it's gone", "x")
	write("line\nbreak", "x")
	write("kept", "x")
	write("changed", "old")
	archive := &bytes.Buffer{}
	w := tar.NewWriter(archive)
	for name, mode := range map[string]int64{"changed": 0o755, "new/folder/file": 0o600} {
		h := &tar.Header{Name: strings.TrimPrefix(filepath.Join(dir, name), "/"), Mode: mode, Size: 3, Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	remove := []string{filepath.Join(dir, "gone"), filepath.Join(dir, "it's gone"), filepath.Join(dir, "line\nbreak"), filepath.Join(dir, "never")}
	o := CopyOptions{Namespace: pod.Namespace, Pod: pod.Name, Container: pod.Spec.Containers[0].Name, Remove: remove, Archive: archive}
	if err := c.Copy(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"changed": "-rwxr-xr-x new", "new/folder/file": "-rw------- new", "kept": "-rw-r--r-- x"} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().String() + " " + string(data); got != want {
			t.Errorf("%s is %q, wanted %q", name, got, want)
		}
	}
	for _, path := range remove {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%q is still there", path)
		}
	}
	t.Run("only removals", func(t *testing.T) {
		o.Remove, o.Archive = []string{filepath.Join(dir, "kept")}, nil
		if err := c.Copy(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "kept")); !os.IsNotExist(err) {
			t.Error("it is still there")
		}
	})
}

// TestCopyKeepsWorkingFolder removes the folder that commands of the container begin in, and one that it is in.
func TestCopyKeepsWorkingFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, remove := range []string{"app/src", "app"} {
		work := filepath.Join(dir, "app", "src")
		if err := os.MkdirAll(filepath.Join(work, "sub", ".hidden"), 0o755); err != nil {
			t.Fatal(err)
		}
		script := exec.CommandContext(t.Context(), "sh", "-c", copyScript, "perch", "no")
		script.Dir, script.Stdin = work, strings.NewReader(filepath.Join(dir, remove)+"\n\n")
		if out, err := script.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("removing %s: %v: %s", remove, err, out)
		}
		if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
			t.Errorf("removing %s: the working folder holds %v, error %v; wanted an empty one", remove, left, err)
		}
	}
}

func TestCopyFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code int
		said string
		want string
		hint string
	}{
		"no tar":      {127, "sh: tar: not found", "pod p: there is no tar in the container to copy files with", "sync+restart"},
		"read-only":   {1, "rm: can't remove '/a': Read-only file system", "pod p: the container's files are read-only: rm: can't remove '/a': Read-only file system", "sync+restart"},
		"not its own": {2, "tar: app/x: Cannot open: Permission denied\ntar: Exiting", "pod p: the container's user may not write there: tar: app/x: Cannot open: Permission denied", "COPY --chown"},
		"other":       {2, "tar: invalid tar magic", "pod p: copying files ended with exit code 2: tar: invalid tar magic", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := copyFault("p", c.code, c.said)
			if err.Error() != c.want {
				t.Errorf("it says %q", err)
			}
			if !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("the hint is %q", fault.HintOf(err))
			}
		})
	}
}

// TestFollowPods is told of pods that come and go.
func TestFollowPods(t *testing.T) {
	t.Parallel()
	c := connect(t, "follow-pods")
	n := startNode(t, c, "node-follow-pods")
	ctx := limited(t)
	seen := make(chan int, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- c.FollowPods(ctx, "follow-pods", "", func(pods []*corev1.Pod) { seen <- len(pods) })
	}()
	if got := <-seen; got != 0 {
		t.Errorf("there were %d pods", got)
	}
	newPod(t, c, "one", n.name, nil, nil, running(0))
	for got := range seen {
		if got == 1 {
			break
		}
	}
}
