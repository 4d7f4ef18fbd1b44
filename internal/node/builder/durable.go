package builder

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
)

// durable is a snapshotter that commits only what is on disk. The index of the cache is synced with each change: after a
// power cut it would name the result of a step whose files are empty, and every later build would take it.
type durable struct {
	snapshots.Snapshotter
	root string // a folder of the file system that the snapshots are on
}

// Commit writes the files of the file system to the disk, then makes the snapshot a committed one.
func (d durable) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := syncFS(d.root); err != nil {
		return fmt.Errorf("write the step's files to the disk: %w", err)
	}
	return d.Snapshotter.Commit(ctx, name, key, opts...)
}

func syncFS(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return unix.Syncfs(int(dir.Fd()))
}
