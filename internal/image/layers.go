package image

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// files is the file system of an image as its layers, the topmost first. Paths are looked up through them by hand, so
// that nothing is mounted on this machine and no link leads out of the image.
type files []layer

// layer is one layer. Paths are relative and clean, "." is its root; none of their parents is a link.
type layer interface {
	lookup(path string) (node, error)              // kindAbsent for what is not in it
	names(folder string) ([]string, error)         // of what it has there, whiteouts may be among it
	read(path string, limit int64) ([]byte, error) // a file of it
}

// node is what a layer has at a path.
type node struct {
	kind     kind
	opaque   bool   // a folder that hides those of the layers below
	implicit bool   // a folder that is only there because something is in it: the layer below knows its owner
	target   string // of a link
	uid, gid int64
	mode     uint32 // permission bits with setuid, setgid and sticky
}

type kind int

const (
	kindAbsent   kind = iota
	kindWhiteout      // what the layers below have there is gone
	kindFolder
	kindLink
	kindFile // and all other things
)

// place is a path of the image with the layers that it is in: one, or all that a folder is merged from.
type place struct {
	node
	path   string
	layers files
}

const (
	maxLinks    = 40      // as the kernel
	maxNameFile = 4 << 20 // bytes of /etc/passwd or /etc/group
)

// find is what the image has at name, after all links. It is absent when there is nothing.
func (f files) find(name string) (place, error) {
	above := []place{{node: node{kind: kindFolder}, path: ".", layers: f}} // the folders on the way, the root first
	at := above[0]
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch {
		case next == "" || next == ".":
			continue
		case at.kind != kindFolder:
			return place{}, nil
		case next == "..":
			above = above[:max(1, len(above)-1)]
			at = above[len(above)-1]
			continue
		}
		child, err := at.child(next)
		if err != nil || child.kind == kindAbsent {
			return place{}, err
		}
		if child.kind != kindLink {
			at = child
			if at.kind == kindFolder {
				above = append(above, at)
			}
			continue
		}
		if links++; links > maxLinks {
			return place{}, nil
		}
		if path.IsAbs(child.target) {
			above = above[:1]
		}
		at = above[len(above)-1]
		todo = append(strings.Split(child.target, "/"), todo...)
	}
	return at, nil
}

// child is what the folder p has under a name. It merges layers as the overlay file system does.
func (p place) child(name string) (place, error) {
	out := place{path: path.Join(p.path, name)}
	hidden := false // only the folder's owner and mode are still looked for
	for _, l := range p.layers {
		n, err := l.lookup(out.path)
		switch {
		case err != nil:
			return place{}, err
		case n.kind == kindAbsent:
			continue
		case n.kind == kindWhiteout:
			return out, nil
		case n.kind != kindFolder && out.kind == kindAbsent:
			return place{node: n, path: out.path, layers: files{l}}, nil
		case n.kind != kindFolder:
			return out, nil
		}
		if out.kind == kindAbsent || out.implicit {
			out.node = n
		}
		if !hidden {
			out.layers = append(out.layers, l)
		}
		if hidden = hidden || n.opaque; hidden && !out.implicit {
			return out, nil
		}
	}
	return out, nil
}

// filled is true for a file, and for a folder with something in it.
func (p place) filled() (bool, error) {
	if p.kind != kindFolder {
		return p.kind != kindAbsent, nil
	}
	for _, l := range p.layers {
		names, err := l.names(p.path)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			if child, err := p.child(name); err != nil || child.kind != kindAbsent {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// text is the content of a small file; nil when there is none.
func (f files) text(name string) ([]byte, error) {
	p, err := f.find(name)
	if err != nil || p.kind != kindFile {
		return nil, err
	}
	return p.layers[0].read(p.path, maxNameFile)
}

// program is true when the image has something executable at name.
func (f files) program(name string) (bool, error) {
	p, err := f.find(name)
	return err == nil && p.kind == kindFile && p.mode&0o111 != 0, err
}

// diskLayer is a layer that the store has unpacked: the path of its folder, with the marks of the overlay file system.
type diskLayer string

var _ layer = diskLayer("")

func (d diskLayer) path(name string) string { return filepath.Join(string(d), name) }

func (d diskLayer) lookup(name string) (node, error) {
	var st unix.Stat_t
	err := unix.Lstat(d.path(name), &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return node{}, nil
	}
	if err != nil {
		return node{}, &fs.PathError{Op: "lstat", Path: d.path(name), Err: err}
	}
	n := node{kind: kindFile, uid: int64(st.Uid), gid: int64(st.Gid), mode: st.Mode & 0o7777}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.kind, n.opaque = kindFolder, d.opaque(name)
	case unix.S_IFLNK:
		n.kind = kindLink
		n.target, err = os.Readlink(d.path(name))
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			n.kind = kindWhiteout
		}
	}
	return n, err
}

func (d diskLayer) opaque(name string) bool {
	var value [1]byte
	for _, attribute := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		if n, err := unix.Lgetxattr(d.path(name), attribute, value[:]); err == nil && n == 1 && value[0] == 'y' {
			return true
		}
	}
	return false
}

func (d diskLayer) names(folder string) ([]string, error) {
	f, err := os.Open(d.path(folder))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d diskLayer) read(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSmall(f, limit)
}

func readSmall(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooBig
	}
	return b, err
}

var errTooBig = errors.New("it is too big to be read here")

// tarLayer is a layer as a registry has it, with the texts of the files that are named passwd or group.
type tarLayer struct {
	nodes    map[string]node
	children map[string][]string
	texts    map[string][]byte
}

var _ layer = (*tarLayer)(nil)

// Marks of the OCI image layout in a layer's archive.
const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
)

func newTarLayer() *tarLayer {
	return &tarLayer{nodes: map[string]node{}, children: map[string][]string{}, texts: map[string][]byte{}}
}

// readTar reads a layer's archive to its end.
func readTar(r io.Reader) (*tarLayer, error) {
	t := newTarLayer()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		if err := t.add(name, h, archive); err != nil {
			return nil, err
		}
	}
}

func (t *tarLayer) add(name string, h *tar.Header, content io.Reader) error {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == opaqueMark {
		t.folder(dir)
		n := t.nodes[dir]
		n.opaque = true
		t.nodes[dir] = n
		return nil
	}
	t.folder(dir)
	if gone, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		name = path.Join(dir, gone)
		if n, ok := t.nodes[name]; ok { // what this layer itself has there stays
			n.opaque = true
			t.nodes[name] = n
			return nil
		}
		t.put(name, node{kind: kindWhiteout})
		return nil
	}
	n := node{kind: kindFile, uid: int64(h.Uid), gid: int64(h.Gid), mode: uint32(h.Mode) & 0o7777}
	old := t.nodes[name]
	switch h.Typeflag {
	case tar.TypeDir:
		n.kind, n.opaque = kindFolder, old.opaque || old.kind == kindWhiteout
	case tar.TypeSymlink:
		n.kind, n.target = kindLink, h.Linkname
	case tar.TypeLink:
		source := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		if target, ok := t.nodes[source]; ok {
			n = target
		}
		t.texts[name] = t.texts[source]
	}
	if (base == "passwd" || base == "group") && h.Typeflag == tar.TypeReg {
		text, err := readSmall(content, maxNameFile)
		if err != nil {
			return err
		}
		t.texts[name] = text
	}
	t.put(name, n)
	return nil
}

// folder makes sure that dir and the folders above it are there.
func (t *tarLayer) folder(dir string) {
	for ; dir != "." && dir != "/"; dir = path.Dir(dir) {
		switch n := t.nodes[dir]; n.kind {
		case kindFolder:
			return
		case kindWhiteout:
			t.put(dir, node{kind: kindFolder, implicit: true, opaque: true})
		default:
			t.put(dir, node{kind: kindFolder, implicit: true})
		}
	}
}

func (t *tarLayer) put(name string, n node) {
	if _, ok := t.nodes[name]; !ok {
		t.children[path.Dir(name)] = append(t.children[path.Dir(name)], path.Base(name))
	}
	t.nodes[name] = n
}

func (t *tarLayer) lookup(name string) (node, error)          { return t.nodes[name], nil }
func (t *tarLayer) names(folder string) ([]string, error)     { return t.children[folder], nil }
func (t *tarLayer) read(name string, _ int64) ([]byte, error) { return t.texts[name], nil }
