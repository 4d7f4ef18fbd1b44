package compose

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/docker/go-units"
)

// largestFile is how big a Compose file or an env file may be. None that a person writes comes near.
const largestFile = 8 << 20

// readFile reads a file that a Compose file names. Only regular ones: a device never ends, and a pipe may never begin.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is a folder")}
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return readLimited(f, limit)
}

// readLimited reads all of r, which must not be more than limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("it is bigger than %s", units.BytesSize(float64(limit)))
	}
	return data, err
}

// readMainFile reads a file that the user named himself: a pipe of the shell is good too, as in -f <(command).
func readMainFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("it is a folder")
	}
	return readLimited(f, largestFile)
}
