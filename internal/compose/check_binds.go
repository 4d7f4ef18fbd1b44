package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// largestBind is how much a bind mount may hold that is copied: it becomes one ConfigMap.
const largestBind = largestObject

// perFile is what a file takes in a ConfigMap and in the pod besides its content.
const perFile = 128

// sockets are paths of the host that let a container rule it.
var sockets = regexp.MustCompile(`(^|/)(docker|podman|containerd|crio)(/[^/]*)?\.sock$`)

// bindUse is one mount of a path of this machine.
type bindUse struct {
	volume types.ServiceVolumeConfig
	path   []string // in the Compose file
}

// bind remembers what a container mounts from this machine. What becomes of a path depends on all of its mounts, see binds.
func (r *reading) bind(v types.ServiceVolumeConfig, path []string) {
	source := filepath.Clean(v.Source)
	if sockets.MatchString(source) {
		r.problem(r.at(path...), fmt.Sprintf("%s%s is not carried: there is no Docker Engine behind this socket, and whoever has it owns the host",
			subject(path[:2]), v.Source), "leave the service out; perch ps and perch logs show what it would show")
		return
	}
	if r.bound == nil {
		r.bound = map[string][]bindUse{}
	}
	r.bound[source] = append(r.bound[source], bindUse{v, path})
}

// binds decides on each path that is mounted: small project files are copied, which any cluster can have; everything else is
// mounted as it is, which only a node on this machine can.
func (r *reading) binds() {
	r.project.Binds = map[string]Tree{}
	for _, source := range sortedNames(r.bound) {
		tree, ok := r.bindTree(source, r.bound[source])
		if !ok {
			continue
		}
		r.project.Binds[source] = tree
		for _, use := range r.bound[source] {
			r.project.Binds[use.volume.Source] = tree
		}
	}
}

func (r *reading) bindTree(source string, uses []bindUse) (Tree, bool) {
	written := slices.ContainsFunc(uses, func(u bindUse) bool { return !u.volume.ReadOnly })
	if info, err := os.Stat(source); r.options.Embedded && written && err == nil && info.IsDir() {
		return r.hostPath(source, uses)
	}
	tree, err := r.copyOf(source)
	switch {
	case err == nil:
		r.warnOfCopies(source, uses)
		return tree, true
	case r.options.Embedded:
		return r.hostPath(source, uses)
	}
	r.eachBind(uses, func(at position, about string) {
		hint := "use a named volume for data that the container writes, or copy what it reads into the project"
		if within(r.dir, source) && !errors.Is(err, fs.ErrNotExist) {
			hint = "build it into the image with COPY, or use a named volume for data"
		}
		r.problem(at, fmt.Sprintf("%sbind mount of %s is not carried: %s", about, r.onThisMachine(source), reason(err)), hint)
	})
	return Tree{}, false
}

func (r *reading) eachBind(uses []bindUse, tell func(at position, about string)) {
	for _, use := range uses {
		tell(r.at(use.path...), subject(use.path[:2]))
	}
}

// warnOfCopies tells of those who could write where Docker runs the file, and cannot here.
func (r *reading) warnOfCopies(source string, uses []bindUse) {
	for _, use := range uses {
		if !use.volume.ReadOnly {
			r.warn(r.at(use.path...), fmt.Sprintf("%sbind mount of %s is carried in part: it is a copy that cannot be written to, taken at each up",
				subject(use.path[:2]), r.onThisMachine(source)), "write :ro to say so, or use a named volume for data that the container writes")
		}
	}
}

// hostPath is a path of this machine that the node mounts as it is.
func (r *reading) hostPath(source string, uses []bindUse) (Tree, bool) {
	tree := Tree{Host: source}
	info, err := os.Stat(source)
	switch {
	case err == nil && !info.IsDir():
		return tree, true
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		r.eachBind(uses, func(at position, about string) {
			r.problem(at, fmt.Sprintf("%sbind mount of %s: %s", about, r.onThisMachine(source), reason(err)), readHint(err))
		})
		return Tree{}, false
	}
	tree.Folder = true
	for _, use := range uses {
		if use.volume.Bind != nil && bool(use.volume.Bind.CreateHostPath) {
			tree.Create = true // of one that is there too: else the first up, which makes it, would change what the second renders
		}
	}
	if err != nil && !tree.Create {
		r.eachBind(uses, func(at position, about string) {
			r.problem(at, fmt.Sprintf("%sbind mount of %s: there is no such file or folder", about, r.onThisMachine(source)),
				"make it, or write create_host_path: true")
		})
	}
	return tree, err == nil || tree.Create
}

// copyOf is a file or folder of the project as a copy that Kubernetes can hold; the error says why it cannot be one.
func (r *reading) copyOf(source string) (Tree, error) {
	inside, err := r.insideProject(source)
	switch {
	case !within(r.dir, source):
		return Tree{}, errors.New("it is outside of the project's folder")
	case err != nil:
		return Tree{}, err
	case !inside:
		return Tree{}, errors.New("it leads outside of the project's folder")
	}
	tree, err := readTree(source)
	if err == nil && len(tree.Files) == 0 {
		return Tree{}, errors.New("the folder is empty, and what the container writes would be lost")
	}
	return tree, err
}

// onThisMachine is how messages name a path: relative to the project's folder when it is in it.
func (r *reading) onThisMachine(path string) string {
	if within(r.dir, path) {
		return r.relative(path)
	}
	return path
}

// insideProject tells whether a path, with its links followed, is in the project's folder.
func (r *reading) insideProject(path string) (bool, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, err
	}
	root, err := filepath.EvalSymlinks(r.dir)
	if err != nil {
		return false, err
	}
	return within(root, target), nil
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// secretFile are names of files that are not for everybody to read.
var secretFile = regexp.MustCompile(`(?i)(^\.env(\..*)?$|\.(pem|key|p12|pfx|jks|keystore|kdbx)$|^id_(rsa|dsa|ecdsa|ed25519)$|secret|password|credential|\.pgpass$|^\.netrc$|htpasswd)`)

// readTree reads a file, or all files below a folder. Links are not followed: they could lead out of the project. A folder
// without files in it is an error, since no ConfigMap could hold it.
func readTree(root string) (Tree, error) {
	info, err := os.Stat(root)
	if err != nil {
		return Tree{}, err
	}
	if !info.IsDir() {
		return readOne(root, info)
	}
	tree := Tree{Folder: true}
	size := int64(0)
	empty := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != root {
			delete(empty, filepath.Dir(path))
		}
		if entry.IsDir() {
			empty[path] = true
			return nil
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is a link or no regular file", filepath.Base(path))
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if size += info.Size() + perFile; size > largestBind {
			return tooBig(size)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		tree.Sensitive = tree.Sensitive || secretFile.MatchString(entry.Name())
		tree.Files = append(tree.Files, TreeFile{Path: filepath.ToSlash(rel), Mode: uint32(info.Mode().Perm()), Data: data})
		return nil
	})
	if err == nil && len(empty) > 0 && len(tree.Files) > 0 {
		return Tree{}, fmt.Errorf("its folder %s is empty", filepath.Base(sortedNames(empty)[0]))
	}
	return tree, err
}

func readOne(path string, info fs.FileInfo) (Tree, error) {
	if !info.Mode().IsRegular() {
		return Tree{}, errors.New("it is not a regular file")
	}
	if info.Size() > largestBind {
		return Tree{}, tooBig(info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Tree{}, err
	}
	file := TreeFile{Mode: uint32(info.Mode().Perm()), Data: data}
	return Tree{Sensitive: secretFile.MatchString(filepath.Base(path)), Files: []TreeFile{file}}, nil
}

func tooBig(size int64) error {
	return fmt.Errorf("it holds %s or more, and a copy of project files may hold 1 MiB", units.BytesSize(float64(size)))
}
