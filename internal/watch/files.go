package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
)

const (
	quiet  = 30 * time.Millisecond  // changes that come this soon after each other are one batch: editors save in several steps
	oldest = 300 * time.Millisecond // but no change waits longer than this for the others
)

// Files tells which files in some folders change. It keeps what it knows of them, so that the events of the kernel are only
// hints where to look: what was written, replaced by a rename, moved with its folder, or missed because the kernel's queue
// ran over comes out as changed paths; what is as it was does not. Symbolic links are not followed.
//
// It is used by one goroutine: New, then Run.
type Files struct {
	notify *fsnotify.Watcher
	skip   func(dir string) bool
	roots  []string
	tops   map[string]state            // of the roots that are there
	dirs   map[string]map[string]state // what is in each watched folder, by name
	batch  map[string]bool             // changed paths; true: it was there before the batch
}

// state is what is known of one path.
type state struct {
	mode     fs.FileMode
	size     int64
	modified time.Time
}

// NewFiles watches the roots, which are absolute paths of files or folders, with all folders in them but those that skip
// leaves out. The names of links in a root's own path must have been resolved.
func NewFiles(roots []string, skip func(dir string) bool) (*Files, error) {
	notify, err := fsnotify.NewBufferedWatcher(4096)
	if err != nil {
		return nil, limits("", err)
	}
	f := &Files{
		notify: notify, skip: skip, roots: outermost(roots),
		tops: map[string]state{}, dirs: map[string]map[string]state{}, batch: map[string]bool{},
	}
	for _, root := range f.roots {
		// The folder above tells when the root itself is replaced.
		err := f.notify.Add(filepath.Dir(root))
		if err == nil {
			err = f.look(root, 0)
		}
		if err != nil {
			return nil, errors.Join(limits(root, err), notify.Close())
		}
	}
	clear(f.batch)
	return f, nil
}

// outermost leaves out paths that lie in another one.
func outermost(paths []string) []string {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return slices.ContainsFunc(paths, func(other string) bool { return other != p && within(other, p) })
	})
}

// limits explains the errors of inotify that a setting mends.
func limits(root string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fault.New(fault.Other, "sysctl -w fs.inotify.max_user_watches=1048576, or ignore folders that are not the app's",
			"watch %s: this machine allows no more watched folders", root)
	case errors.Is(err, unix.EMFILE):
		return fault.New(fault.Other, "sysctl -w fs.inotify.max_user_instances=1024", "watch: this machine allows no more watchers")
	}
	return fmt.Errorf("watch %s: %w", root, err)
}

// Run gives each batch of changed paths to changed, sorted, until ctx is done, which is no error. Changes that come while
// changed runs are in the next batch. A path that came and went within a batch is not told.
func (f *Files) Run(ctx context.Context, changed func(paths []string)) (err error) {
	defer func() { err = errors.Join(err, f.notify.Close()) }()
	timer := time.NewTimer(quiet)
	timer.Stop()
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-f.notify.Events:
			if !ok {
				return errors.New("watch: the watcher was closed")
			}
			if err := f.look(e.Name, e.Op); err != nil {
				return limits(e.Name, err)
			}
		case err := <-f.notify.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return limits("", err)
			}
			if err := f.lookAgain(); err != nil {
				return limits("", err)
			}
		case <-timer.C:
			began = time.Time{}
			if paths := f.flush(); len(paths) > 0 {
				changed(paths)
			}
			continue
		}
		if len(f.batch) == 0 {
			continue
		}
		if began.IsZero() {
			began = time.Now()
		}
		timer.Reset(max(0, min(quiet, oldest-time.Since(began))))
	}
}

// flush ends the batch.
func (f *Files) flush() []string {
	var paths []string
	for name, before := range f.batch {
		if _, there := f.known(name); before || there {
			paths = append(paths, name)
		}
	}
	clear(f.batch)
	slices.Sort(paths)
	return paths
}

// note puts a path into the batch.
func (f *Files) note(name string, before bool) {
	if _, ok := f.batch[name]; !ok {
		f.batch[name] = before
	}
}

func (f *Files) known(name string) (state, bool) {
	if in, ok := f.dirs[filepath.Dir(name)]; ok {
		s, ok := in[filepath.Base(name)]
		return s, ok
	}
	s, ok := f.tops[name]
	return s, ok
}

func (f *Files) know(name string, s state) {
	if in, ok := f.dirs[filepath.Dir(name)]; ok {
		in[filepath.Base(name)] = s
		return
	}
	f.tops[name] = s
}

// look brings what is known of a path up to date. op is what the kernel said about it, 0 when it said nothing.
func (f *Files) look(name string, op fsnotify.Op) error {
	if f.dirs[filepath.Dir(name)] == nil && !slices.Contains(f.roots, name) {
		return nil // a neighbour of a root, or what is left of a folder that was moved away
	}
	before, known := f.known(name)
	if known && before.mode.IsDir() && op.Has(fsnotify.Remove|fsnotify.Rename) {
		f.forget(name, before) // what has its name now is another folder
		known = false
	}
	info, err := os.Lstat(name)
	if err != nil { // gone, most likely; or not ours to read, which is the same
		if known {
			f.forget(name, before)
		}
		return nil
	}
	now := state{info.Mode(), info.Size(), info.ModTime()}
	if known && before.mode.IsDir() && now.mode.IsDir() {
		if before.mode != now.mode {
			f.know(name, now)
			f.note(name, true)
		}
		return nil
	}
	hint := op.Has(fsnotify.Write|fsnotify.Create) || op.Has(fsnotify.Remove|fsnotify.Rename)
	if known && !hint && before.mode == now.mode && before.size == now.size && before.modified.Equal(now.modified) {
		return nil
	}
	if known && before.mode.IsDir() {
		f.forget(name, before)
	}
	f.note(name, known)
	f.know(name, now)
	if now.mode.IsDir() {
		return f.enter(name)
	}
	return nil
}

// enter watches a folder and then looks at all that is in it: what comes before the watch is seen by looking, what comes
// after it is told by the kernel.
func (f *Files) enter(dir string) error {
	if f.skip(dir) {
		return nil
	}
	f.dirs[dir] = map[string]state{}
	if err := f.notify.Add(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) {
			return nil // gone again, which is told; or not to be read
		}
		return err
	}
	entries, _ := os.ReadDir(dir) // as far as it can be read
	for _, e := range entries {
		if err := f.look(filepath.Join(dir, e.Name()), 0); err != nil {
			return err
		}
	}
	return nil
}

// forget notes a path and all that is known in it as gone.
func (f *Files) forget(name string, before state) {
	f.note(name, true)
	if before.mode.IsDir() {
		f.leave(name)
	}
	if in, ok := f.dirs[filepath.Dir(name)]; ok {
		delete(in, filepath.Base(name))
		return
	}
	delete(f.tops, name)
}

// leave ends the watches of a folder and of those in it: a folder that was moved would be told of by its old name.
func (f *Files) leave(dir string) {
	in, ok := f.dirs[dir]
	if !ok {
		return
	}
	for base, s := range in {
		name := filepath.Join(dir, base)
		f.note(name, true)
		if s.mode.IsDir() {
			f.leave(name)
		}
	}
	delete(f.dirs, dir)
	if !slices.ContainsFunc(f.roots, func(root string) bool { return filepath.Dir(root) == dir }) {
		_ = f.notify.Remove(dir) // the kernel may have done it already
	}
}

// lookAgain looks at everything, after the kernel had more to say than its queue holds.
func (f *Files) lookAgain() error {
	for _, root := range f.roots {
		if err := f.look(root, 0); err != nil {
			return err
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(f.dirs)) {
		in, ok := f.dirs[dir]
		if !ok {
			continue // it was in one that is gone
		}
		entries, _ := os.ReadDir(dir) // one that cannot be read is gone
		names := map[string]bool{}
		for _, e := range entries {
			names[e.Name()] = true
		}
		for base := range in {
			names[base] = true
		}
		for _, base := range slices.Sorted(maps.Keys(names)) {
			if err := f.look(filepath.Join(dir, base), 0); err != nil {
				return err
			}
		}
	}
	return nil
}
