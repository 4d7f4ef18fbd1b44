package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder is a folder of a test with a watcher on it.
type folder struct {
	dir     string
	batches chan []string
}

// watched makes a folder with these files and watches it.
func watched(t *testing.T, skip func(string) bool, files ...string) folder {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := folder{filepath.Join(dir, "root"), make(chan []string, 1000)}
	w.mkdir(t, ".")
	for _, name := range files {
		w.write(t, name, "first")
	}
	if skip == nil {
		skip = func(string) bool { return false }
	}
	f, err := NewFiles([]string{w.dir}, skip)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, func(paths []string) { w.batches <- paths }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w folder) path(name string) string { return filepath.Join(w.dir, name) }

func (w folder) write(t *testing.T, name, text string) {
	t.Helper()
	w.mkdir(t, filepath.Dir(name))
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w folder) mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(w.path(name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (w folder) rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(w.path(from), w.path(to)); err != nil {
		t.Fatal(err)
	}
}

func (w folder) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(w.path(name)); err != nil {
		t.Fatal(err)
	}
}

// until collects batches until all of the wanted paths were in one, and returns all that were told. A marker file is
// written last, so that nothing has to be waited for in vain.
func (w folder) until(t *testing.T, wanted ...string) []string {
	t.Helper()
	var told []string
	missing := slices.Clone(wanted)
	late := time.After(20 * time.Second)
	for len(missing) > 0 {
		select {
		case paths := <-w.batches:
			for _, p := range paths {
				rel, err := filepath.Rel(w.dir, p)
				if err != nil {
					t.Fatal(err)
				}
				told = append(told, rel)
				missing = slices.DeleteFunc(missing, func(m string) bool { return m == rel })
			}
		case <-late:
			t.Fatalf("never told of %v; told of %v", missing, told)
		}
	}
	slices.Sort(told)
	return slices.Compact(told)
}

// exactly makes changes and wants to be told of these paths and no others.
func (w folder) exactly(t *testing.T, change func(), wanted ...string) {
	t.Helper()
	change()
	const marker = "zz-marker"
	w.write(t, marker, time.Now().String())
	got := slices.DeleteFunc(w.until(t, append(slices.Clone(wanted), marker)...), func(p string) bool { return p == marker })
	slices.Sort(wanted)
	if diff := cmp.Diff(wanted, got, cmp.Transformer("none", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFilesChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, w folder)
		want   []string
	}{
		"write":           {func(t *testing.T, w folder) { w.write(t, "a.txt", "second") }, []string{"a.txt"}},
		"write below":     {func(t *testing.T, w folder) { w.write(t, "sub/deep/b.txt", "second") }, []string{"sub/deep/b.txt"}},
		"create":          {func(t *testing.T, w folder) { w.write(t, "new.txt", "") }, []string{"new.txt"}},
		"remove":          {func(t *testing.T, w folder) { w.remove(t, "a.txt") }, []string{"a.txt"}},
		"save by rename":  {func(t *testing.T, w folder) { w.write(t, ".a.tmp", "x"); w.rename(t, ".a.tmp", "a.txt") }, []string{"a.txt"}},
		"came and went":   {func(t *testing.T, w folder) { w.write(t, "tmp", "x"); w.remove(t, "tmp") }, nil},
		"rename a folder": {func(t *testing.T, w folder) { w.rename(t, "sub", "other") }, []string{"other", "other/deep", "other/deep/b.txt", "sub", "sub/deep", "sub/deep/b.txt"}},
		"remove a folder": {func(t *testing.T, w folder) { w.remove(t, "sub") }, []string{"sub", "sub/deep", "sub/deep/b.txt"}},
		"new folders":     {func(t *testing.T, w folder) { w.write(t, "x/y/z.txt", "") }, []string{"x", "x/y", "x/y/z.txt"}},
		"a folder in a file's place": {func(t *testing.T, w folder) {
			w.remove(t, "a.txt")
			w.write(t, "a.txt/inner", "")
		}, []string{"a.txt", "a.txt/inner"}},
		"a file in a folder's place": {func(t *testing.T, w folder) {
			w.remove(t, "sub")
			w.write(t, "sub", "")
		}, []string{"sub", "sub/deep", "sub/deep/b.txt"}},
		"permissions": {func(t *testing.T, w folder) {
			if err := os.Chmod(w.path("a.txt"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"a.txt"}},
		"permissions as they were": {func(t *testing.T, w folder) {
			if err := os.Chmod(w.path("a.txt"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil},
		"link to a folder": {func(t *testing.T, w folder) {
			if err := os.Symlink("sub", w.path("link")); err != nil {
				t.Fatal(err)
			}
		}, []string{"link"}},
		"skipped folder": {func(t *testing.T, w folder) { w.write(t, "skipped/c.txt", "second") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watched(t, func(dir string) bool { return filepath.Base(dir) == "skipped" }, "a.txt", "sub/deep/b.txt", "skipped/c.txt")
			w.exactly(t, func() { c.change(t, w) }, c.want...)
		})
	}
}

// TestFilesFollowRenamed writes into a folder after it was renamed, and into one that took its name.
func TestFilesFollowRenamed(t *testing.T) {
	t.Parallel()
	w := watched(t, nil, "a/deep/1.txt")
	w.exactly(t, func() { w.rename(t, "a", "b") }, "a", "a/deep", "a/deep/1.txt", "b", "b/deep", "b/deep/1.txt")
	w.exactly(t, func() { w.write(t, "b/deep/1.txt", "second") }, "b/deep/1.txt")
	w.exactly(t, func() { w.write(t, "a/deep/2.txt", "") }, "a", "a/deep", "a/deep/2.txt")
	w.exactly(t, func() { w.write(t, "a/deep/2.txt", "second") }, "a/deep/2.txt")
}

// TestFilesRootReplaced removes the root itself and makes it again, as a change of branch may.
func TestFilesRootReplaced(t *testing.T) {
	t.Parallel()
	w := watched(t, nil, "a.txt")
	w.remove(t, ".")
	w.until(t, ".", "a.txt")
	w.write(t, "b/c.txt", "")
	w.until(t, "b/c.txt")
	w.write(t, "b/c.txt", "second")
	w.until(t, "b/c.txt")
}

// TestFilesSingle watches one file, which editors replace.
func TestFilesSingle(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := folder{dir, make(chan []string, 100)}
	w.write(t, "one.conf", "first")
	f, err := NewFiles([]string{w.path("one.conf")}, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := f.Run(t.Context(), func(paths []string) { w.batches <- paths }); err != nil {
			t.Error(err)
		}
	}()
	w.write(t, "other.conf", "not watched")
	w.write(t, ".one.tmp", "second")
	w.rename(t, ".one.tmp", "one.conf")
	if diff := cmp.Diff([]string{"one.conf"}, w.until(t, "one.conf")); diff != "" {
		t.Error(diff)
	}
}

// TestFilesManyFolders makes folders as fast as it can: none may be missed between its making and its watch.
func TestFilesManyFolders(t *testing.T) {
	t.Parallel()
	w := watched(t, nil)
	var want []string
	for i := range 200 {
		name := fmt.Sprintf("d%03d/e/f.txt", i)
		w.write(t, name, "x")
		want = append(want, name)
	}
	w.until(t, want...)
}

// TestFilesOverflow looks again at everything, as after an overflow of the kernel's queue.
func TestFilesOverflow(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := folder{dir, nil}
	w.write(t, "same", "x")
	w.write(t, "gone/x", "x")
	w.write(t, "grown", "x")
	f, err := NewFiles([]string{dir}, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	defer f.notify.Close()
	w.remove(t, "gone")
	w.write(t, "grown", "longer")
	w.write(t, "new/y", "x")
	if err := f.lookAgain(); err != nil {
		t.Fatal(err)
	}
	want := []string{w.path("gone"), w.path("gone/x"), w.path("grown"), w.path("new"), w.path("new/y")}
	if diff := cmp.Diff(want, f.flush()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOutermost(t *testing.T) {
	t.Parallel()
	got := outermost([]string{"/app/src", "/app", "/application", "/app", "/lib/x"})
	if diff := cmp.Diff([]string{"/app", "/application", "/lib/x"}, got); diff != "" {
		t.Error(diff)
	}
}
