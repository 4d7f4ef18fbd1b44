package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ensureFile makes a file that holds a key of its own, once. It is durable: what is encrypted or signed with it must
// not outlive it.
func ensureFile(path string, content func() ([]byte, error)) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := content()
	if err != nil {
		return err
	}
	return writeDurable(path, data)
}

// write replaces a file at once, 0600: a reader sees the old or the new one. It may be lost with the power.
func write(path string, data []byte) error { return replace(path, data, false) }

// writeDurable is write, and the file is on disk when it returns.
func writeDurable(path string, data []byte) error { return replace(path, data, true) }

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
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(f.Name())))
	}
	return nil
}

func syncDir(dir string) error {
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
