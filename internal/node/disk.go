package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/node/settings"
)

// Disk is what the node's folder has beside images and the build cache, in bytes.
type Disk struct {
	Budget  int64            // for images and the build cache
	Free    int64            // of the disk
	Index   int64            // of the build cache
	Logs    int64            // of the node's parts and of pods
	Store   int64            // objects, keys, and what the kubelet keeps of pods
	Volumes map[string]int64 // by the name of the PersistentVolume
}

// Disk measures the folder. It needs root.
func (c Cluster) Disk(ctx context.Context) (Disk, error) {
	if err := needRoot(); err != nil {
		return Disk{}, err
	}
	d := Disk{Volumes: map[string]int64{}}
	var err error
	if d.Budget, d.Free, err = c.budget(); err != nil {
		return d, err
	}
	l := c.layout()
	podLogs := filepath.Join(l.Kubernetes(), "pod-logs")
	var logs, pods, kubernetes int64
	all, _ := errgroup.WithContext(ctx)
	measure := func(to *int64, dir string) {
		all.Go(func() (err error) {
			*to, err = sizeOf(dir)
			return err
		})
	}
	measure(&logs, l.Logs())
	measure(&pods, podLogs)
	measure(&kubernetes, l.Kubernetes())
	measure(&d.Index, l.Builder())
	entries, err := os.ReadDir(l.Volumes())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	sizes := make([]int64, len(entries))
	for i, e := range entries {
		measure(&sizes[i], filepath.Join(l.Volumes(), e.Name()))
	}
	if err := all.Wait(); err != nil {
		return d, err
	}
	for i, e := range entries {
		d.Volumes[e.Name()] = sizes[i]
	}
	d.Logs, d.Store = logs+pods, kubernetes-pods
	return d, nil
}

// Budget is how many bytes images and the build cache may use.
func (c Cluster) Budget() (int64, error) {
	budget, _, err := c.budget()
	return budget, err
}

// CacheShare is the part of a budget that the build cache keeps to by itself.
func CacheShare(budget int64) int64 { return settings.BuildCache(budget) }

func (c Cluster) budget() (budget, free int64, err error) {
	kept, err := settings.Read(c.layout().Settings())
	if err != nil {
		return 0, 0, err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(c.Dir, &disk); err != nil {
		return 0, 0, err
	}
	size := disk.Bsize
	return kept.Budget(int64(disk.Blocks) * size), int64(disk.Bavail) * size, nil //nolint:gosec // a disk's blocks fit
}

// sizeOf is what a folder takes on disk, 0 when there is none. A file with several names counts once; what goes away
// meanwhile does not count.
func sizeOf(dir string) (int64, error) {
	type file struct{ dev, ino uint64 }
	seen := map[file]bool{}
	var size int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it went away
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Nlink > 1 && seen[file{stat.Dev, stat.Ino}] {
			return nil
		}
		if !info.IsDir() {
			seen[file{stat.Dev, stat.Ino}] = true
		}
		const block = 512 // stat(2)
		size += stat.Blocks * block
		return nil
	})
	return size, err
}
