package pki

import (
	"errors"
	"io/fs"
	"os"

	"github.com/perch-k8s/perch/internal/node/files"
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
	return files.ReplaceDurably(path, data)
}
