// Package files writes the files of a node, whole or not at all.
package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace replaces a file at once, 0600: a reader sees the old or the new one. It may be lost with the power.
func Replace(path string, data []byte) error { return replace(path, data, false) }

// ReplaceDurably is Replace, and the file is on disk when it returns. It is there before it has its name, or a power cut
// could leave an empty one.
func ReplaceDurably(path string, data []byte) error { return replace(path, data, true) }

func replace(path string, data []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil && sync {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(f.Name())))
	}
	return nil
}

// SyncDir puts on disk what was made, renamed and removed in a folder.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
