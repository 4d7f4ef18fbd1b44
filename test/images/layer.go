package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mtime is that of every file, so that the same inputs make the same bytes.
func mtime() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }

// layer writes one tar. A path is written once: what is added first stays, so an image's own files come before its
// packages. Folders above a path are added when they are missing.
type layer struct {
	tar  *tar.Writer
	seen map[string]bool
	skip func(name string) bool // paths of packages and trees to leave out, without a leading slash
}

func newLayer(w io.Writer, skip func(string) bool) *layer {
	return &layer{tar: tar.NewWriter(w), seen: map[string]bool{}, skip: skip}
}

// place is where a package's path ends up, without leading slash: below /usr for the folders that are links into it on
// every Debian since 12.
func place(name string) string {
	name = strings.Trim(path.Clean("/"+name), "/")
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains([]string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}, first) {
		return "usr/" + name
	}
	return name
}

func (l *layer) header(h *tar.Header) (bool, error) {
	if h.Name == "" || l.seen[h.Name] {
		return false, nil
	}
	if parent := path.Dir(h.Name); parent != "." && !l.seen[parent] {
		if err := l.folder(parent, 0o755, 0); err != nil {
			return false, err
		}
	}
	l.seen[h.Name] = true
	h.ModTime, h.AccessTime, h.ChangeTime = mtime(), time.Time{}, time.Time{}
	h.Uname, h.Gname, h.PAXRecords, h.Format = "", "", nil, tar.FormatUnknown
	return true, l.tar.WriteHeader(h)
}

// folder adds an empty folder that belongs to the user and group id. mode may have the sticky and setgid bits of Unix.
func (l *layer) folder(name string, mode int64, id int) error {
	_, err := l.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, Uid: id, Gid: id})
	return err
}

func (l *layer) file(name string, mode int64, content []byte) error {
	ok, err := l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))})
	if err != nil || !ok {
		return err
	}
	_, err = l.tar.Write(content)
	return err
}

func (l *layer) link(name, to string) error {
	_, err := l.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777})
	return err
}

// mergeUsr adds the links /bin, /lib, … into /usr.
func (l *layer) mergeUsr() error {
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := errors.Join(l.folder("usr/"+name, 0o755, 0), l.link(name, "usr/"+name)); err != nil {
			return err
		}
	}
	return nil
}

// deb adds the files of a Debian package. Its scripts are not run.
func (l *layer) deb(ctx context.Context, file string) (err error) {
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	copied := l.copyTar(tar.NewReader(stdout))
	_, drained := io.Copy(io.Discard, stdout) // dpkg-deb must not end by a broken pipe
	if err := command.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, lastLines(stderr.String(), 3))
	}
	if err := errors.Join(copied, drained); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

func (l *layer) copyTar(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name = place(h.Name)
		if l.skip(h.Name) {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = place(h.Linkname)
		}
		ok, err := l.header(h)
		if err != nil {
			return err
		}
		if ok && h.Typeflag == tar.TypeReg {
			if _, err := io.Copy(l.tar, r); err != nil {
				return err
			}
		}
	}
}

// tree adds a folder of this machine at the path to. Links are followed: Debian's own Go is spread over several folders.
func (l *layer) tree(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		source, name := filepath.Join(from, entry.Name()), path.Join(to, entry.Name())
		if l.skip(name) {
			continue
		}
		info, err := os.Stat(source)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link to nowhere
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = errors.Join(l.folder(name, 0o755, 0), l.tree(source, name))
		} else if info.Mode().IsRegular() {
			err = l.copyFile(source, name, info.Mode())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) copyFile(source, name string, mode fs.FileMode) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	permissions := int64(0o644)
	if mode&0o111 != 0 {
		permissions = 0o755
	}
	return l.file(name, permissions, content)
}
