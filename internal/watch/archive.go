package watch

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// wholeFile is up to which size a file is read before its header is written, so that one that changes just then is whole.
const wholeFile = 4 << 20

// archive is a difference as it is sent: what is removed, and a tar of what is put in place, from the root on.
type archive struct {
	removed []string // absolute
	count   int      // entries of the tar
	file    *os.File // has no name any more; nil without entries
	size    int64
}

// reader reads the tar from its beginning; nil without entries. Several may read side by side.
func (a *archive) reader() io.Reader {
	if a.file == nil || a.count == 0 {
		return nil
	}
	return io.NewSectionReader(a.file, 0, a.size)
}

func (a *archive) close() {
	if a.file != nil {
		_ = a.file.Close() // it has no name: nothing is left
	}
}

// pack makes the archive of files as they are on the host now: gone ones are removed, the others sent. files are sorted by
// Target. As a layer of an image, removals are entries of the tar too.
//
// Owners are root's, as docker cp has it; modes and times are kept.
func pack(files []File, layer bool) (_ *archive, err error) {
	a := &archive{}
	if a.file, err = os.CreateTemp("", "perch-sync-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := os.Remove(a.file.Name()); err != nil {
		return nil, err
	}
	w := tar.NewWriter(a.file)
	closed := map[string]bool{} // targets that hold nothing: gone, or (true) no folders
	for _, f := range files {
		if dir := inside(closed, f.Target); dir != "" {
			// It went with its folder, in whose place tar puts no file.
			if closed[dir] && !slices.Contains(a.removed, dir) {
				a.removed = append(a.removed, dir)
			}
			continue
		}
		there, err := add(w, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Host, err)
		}
		if info, err := os.Lstat(f.Host); err != nil || !info.IsDir() {
			closed[f.Target] = err == nil
		}
		if there {
			a.count++
			continue
		}
		a.removed = append(a.removed, f.Target)
		if layer {
			a.count++
			if err := w.WriteHeader(whiteout(f.Target)); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	a.size, err = a.file.Seek(0, io.SeekCurrent)
	return a, err
}

// inside is the folder in the set that a target is in, "" when it is in none.
func inside(set map[string]bool, target string) string {
	for dir := path.Dir(target); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if _, ok := set[dir]; ok {
			return dir
		}
	}
	return ""
}

// whiteout is the entry of a layer that hides what the layers below have there (OCI image specification, layer.md).
func whiteout(target string) *tar.Header {
	dir, base := path.Split(strings.TrimPrefix(target, "/"))
	return &tar.Header{Typeflag: tar.TypeReg, Name: dir + ".wh." + base, Mode: 0o600, Format: tar.FormatPAX}
}

// add writes one path of the host. It says false when nothing is there. Sockets, devices and pipes are passed over.
func add(w *tar.Writer, f File) (there bool, err error) {
	info, err := os.Lstat(f.Host)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(f.Host); err != nil {
			return false, ignoreGone(err)
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return true, nil
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return false, err
	}
	h.Name = strings.TrimPrefix(f.Target, "/")
	if info.IsDir() {
		h.Name += "/"
	}
	if h.Name == "" || h.Name == "/" {
		return true, nil // the container's root is there
	}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	// GNU's form: busybox's tar does not read long names in the other one.
	h.Format, h.AccessTime, h.ChangeTime = tar.FormatGNU, time.Time{}, time.Time{}
	if !info.Mode().IsRegular() {
		return true, w.WriteHeader(h)
	}
	return content(w, h, f.Host)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// content writes a file with its header. A big one that shrinks while it is read is filled up: its change comes next.
func content(w *tar.Writer, h *tar.Header, host string) (there bool, err error) {
	in, err := os.Open(host)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer in.Close()
	var from io.Reader = in
	if h.Size <= wholeFile {
		data, err := io.ReadAll(io.LimitReader(in, wholeFile))
		if err != nil {
			return false, err
		}
		h.Size, from = int64(len(data)), bytes.NewReader(data)
	}
	if err := w.WriteHeader(h); err != nil {
		return false, err
	}
	n, err := io.Copy(w, io.LimitReader(from, h.Size))
	if err == nil && n < h.Size {
		_, err = io.CopyN(w, zeros{}, h.Size-n)
	}
	return true, err
}

// zeros is a Reader of zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
