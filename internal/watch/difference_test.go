package watch

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// containers stand for the files of containers: what was copied to each pod.
type containers struct {
	mu    sync.Mutex
	files map[string]map[string]string // by pod and path
	calls map[string]int
	fail  map[string]error
}

func (c *containers) copy(_ context.Context, o kube.CopyOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[o.Pod]++
	if err := c.fail[o.Pod]; err != nil {
		return err
	}
	if c.files[o.Pod] == nil {
		c.files[o.Pod] = map[string]string{}
	}
	for _, gone := range o.Remove {
		c.files[o.Pod][gone] = "removed"
	}
	if o.Archive == nil {
		return nil
	}
	r := tar.NewReader(o.Archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		c.files[o.Pod]["/"+h.Name] = string(data)
	}
}

// of is what a pod got since the last call.
func (c *containers) of(pod string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.files[pod]
	delete(c.files, pod)
	return files
}

// differing starts a difference.
func differing(t *testing.T) (*difference, *containers, chan string) {
	t.Helper()
	c := &containers{files: map[string]map[string]string{}, calls: map[string]int{}, fail: map[string]error{}}
	d, late := newDifference(c.copy), make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx, "ns", func(pod string, _ int) { late <- pod }) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return d, c, late
}

// pod is a pod whose container web runs.
func pod(name, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "web", ContainerID: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
}

func (d *difference) settle(t *testing.T, number int64) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return d.settled(ctx, number)
}

func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) File {
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return File{filepath.Join(dir, name), "/app/" + name}
	}
	d, c, late := differing(t)
	d.see([]*corev1.Pod{pod("a", "v1"), pod("b", "v1")}, "web")
	n := d.record([]File{file("x", "one"), file("gone", "")}, true)
	if pods, err := d.settle(t, n); pods != 2 || err != nil {
		t.Fatal(pods, err)
	}
	want := map[string]string{"/app/x": "one", "/app/gone": "removed"}
	same(t, want, c.of("a"))
	same(t, want, c.of("b"))

	// A pod in the other's place gets what was synced before it was there, as it is now.
	file("x", "two")
	d.see([]*corev1.Pod{pod("a", "v1"), pod("c", "v1")}, "web")
	if pods, err := d.settle(t, n); pods != 2 || err != nil {
		t.Fatal(pods, err)
	}
	same(t, map[string]string{"/app/x": "two", "/app/gone": "removed"}, c.of("c"))
	same(t, nil, c.of("a"))
	if got := <-late; got != "c" {
		t.Errorf("%s is late", got)
	}

	// A pod of an image that was built since needs only what came after.
	d.has("v2", d.now(), func(string) bool { return false })
	n = d.record([]File{file("y", "new")}, true)
	d.see([]*corev1.Pod{pod("a", "v1"), pod("d", "v2")}, "web")
	if pods, err := d.settle(t, n); pods != 2 || err != nil {
		t.Fatal(pods, err)
	}
	same(t, map[string]string{"/app/y": "new"}, c.of("d"))
	same(t, map[string]string{"/app/y": "new"}, c.of("a"))

	// What is not in the build context is not in the image.
	d.has("v3", d.now(), func(host string) bool { return filepath.Base(host) == "y" })
	d.see([]*corev1.Pod{pod("e", "v3")}, "web")
	if pods, err := d.settle(t, d.now()); pods != 1 || err != nil {
		t.Fatal(pods, err)
	}
	same(t, map[string]string{"/app/y": "new"}, c.of("e"))
}

// TestDifferenceHeld keeps changes that wait for a new image from running containers.
func TestDifferenceHeld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, c, _ := differing(t)
	d.see([]*corev1.Pod{pod("a", "v1")}, "web")
	held := d.record([]File{{filepath.Join(dir, "x"), "/x"}}, false)
	if files, upTo := d.since(""); len(files) != 1 || upTo != held {
		t.Errorf("since the first image there are %v up to %d", files, upTo)
	}
	d.has("v2", held, nil)
	d.see([]*corev1.Pod{pod("b", "v2")}, "web")
	d.release()
	if pods, err := d.settle(t, held); pods != 1 || err != nil {
		t.Fatal(pods, err)
	}
	same(t, nil, c.of("a"))
	same(t, nil, c.of("b"))
}

func TestDifferenceFailures(t *testing.T) {
	t.Parallel()
	d, c, _ := differing(t)
	c.fail["a"] = fault.New(fault.Other, "use another action", "pod a: no tar")
	d.see([]*corev1.Pod{pod("a", "v1"), pod("b", "v1")}, "web")
	n := d.record([]File{{"/nowhere/x", "/x"}}, true)
	pods, err := d.settle(t, n)
	if pods != 1 || err == nil || err.Error() != "pod a: no tar" {
		t.Errorf("%d pods, %v", pods, err)
	}
	c.mu.Lock()
	c.fail["a"] = nil
	c.mu.Unlock()
	n = d.record([]File{{"/nowhere/y", "/y"}}, true)
	if pods, err := d.settle(t, n); pods != 2 || err != nil {
		t.Fatal(pods, err)
	}
	same(t, map[string]string{"/x": "removed", "/y": "removed"}, c.of("a"))

	// A pod that could not be written to because it ended is no failure.
	c.mu.Lock()
	c.fail["b"] = errors.New("container not found")
	c.mu.Unlock()
	n = d.record([]File{{"/nowhere/z", "/z"}}, true)
	d.see([]*corev1.Pod{pod("a", "v1")}, "web")
	if pods, err := d.settle(t, n); pods != 1 || err != nil {
		t.Fatal(pods, err)
	}
}

// TestPack makes an archive of everything that a folder may hold.
func TestPack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("long/", 60) + "name"
	must(os.MkdirAll(filepath.Join(dir, filepath.Dir(long)), 0o755))
	must(os.WriteFile(filepath.Join(dir, long), []byte("deep"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "run"), []byte("#!"), 0o755))
	must(os.Mkdir(filepath.Join(dir, "folder"), 0o750))
	must(os.Symlink("run", filepath.Join(dir, "link")))
	big := strings.Repeat("b", wholeFile+1)
	must(os.WriteFile(filepath.Join(dir, "big"), []byte(big), 0o644))
	var files []File
	for _, name := range []string{"big", "folder", "gone", "gone.x", "gone/inner", "link", long, "run", "run.x", "run/was-a-folder"} {
		files = append(files, File{filepath.Join(dir, name), "/t/" + name})
	}
	for _, layer := range []bool{false, true} {
		a, err := pack(files, layer)
		must(err)
		defer a.close()
		got := map[string]string{}
		r := tar.NewReader(a.reader())
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(err)
			data, err := io.ReadAll(r)
			must(err)
			text := string(data)
			if text == big {
				text = "big"
			}
			got[h.Name] = strings.TrimSpace(h.FileInfo().Mode().String() + " " + h.Linkname + " " + text)
			if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.IsZero() {
				t.Errorf("%s is of %d:%d %q, of %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
			}
		}
		want := map[string]string{
			"t/big": "-rw-r--r--  big", "t/folder/": "drwxr-x---", "t/link": "Lrwxrwxrwx run", "t/" + long: "-rw-------  deep", "t/run": "-rwxr-xr-x  #!",
		}
		if layer {
			want["t/.wh.gone"], want["t/.wh.gone.x"], want["t/.wh.run.x"] = "-rw-------", "-rw-------", "-rw-------"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("layer %t: -want +got:\n%s", layer, diff)
		}
		if diff := cmp.Diff([]string{"/t/gone", "/t/gone.x", "/t/run.x", "/t/run"}, a.removed); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	a, b := "it's", "two\nlines"
	got := exports(map[string]*string{"B": &b, "A": &a, "NONE": nil})
	if want := "export A='it'\\''s'\nexport B='two\nlines'\n"; got != want {
		t.Errorf("it is %q", got)
	}
}
