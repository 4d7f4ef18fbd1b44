package compose

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// largestBind is how much a bind mount may hold: it becomes one ConfigMap.
const largestBind = largestObject

// volumes checks and reads what a container mounts.
func (r *reading) volumes(c types.ContainerSpec, path []string) {
	targets := map[string]bool{}
	for i, spec := range c.Tmpfs {
		target, options, _ := strings.Cut(spec, ":")
		at := append(slices.Clone(path), "tmpfs", strconv.Itoa(i))
		r.target(target, targets, at)
		r.checkTmpfs(spec, options, at)
	}
	for i, v := range c.Volumes {
		at := r.volumeItem(path, i, v)
		r.target(v.Target, targets, at)
		switch v.Type {
		case types.VolumeTypeBind:
			r.bind(v, at)
		case types.VolumeTypeVolume:
			if v.Source == "" {
				r.warn(r.at(at...), fmt.Sprintf("%sthe anonymous volume at %s begins empty: what the image has there is not copied into it yet", subject(path), v.Target),
					"leave the volume out if the image's own files are needed there")
				continue
			}
			if _, ok := r.project.Project.Volumes[v.Source]; !ok {
				r.undefined(at, "volume", v.Source, sortedNames(r.project.Project.Volumes))
			}
		case types.VolumeTypeTmpfs, types.VolumeTypeImage: // carried, and refused by the table
		default:
			r.problem(r.at(at...), fmt.Sprintf("%svolumes of type %s are not carried", subject(path), v.Type), "use a named volume")
		}
	}
}

// volumeItem is the path of a volume in the file, found by its target: merging may have changed the order.
func (r *reading) volumeItem(path []string, i int, v types.ServiceVolumeConfig) []string {
	base := append(slices.Clone(path), "volumes")
	for n := range 4096 {
		key, found := descendFirst(r.files, append(slices.Clone(base), strconv.Itoa(n))...)
		if found == nil {
			break
		}
		_ = key
		text := r.interpolate.text(found)
		if _, target := child(found, "target"); target != nil {
			text = ":" + r.interpolate.text(target)
		}
		if text == v.Target || strings.HasSuffix(text, ":"+v.Target) || strings.Contains(text, ":"+v.Target+":") {
			return append(base, strconv.Itoa(n))
		}
	}
	return append(base, strconv.Itoa(i))
}

func (r *reading) target(target string, targets map[string]bool, path []string) {
	clean := filepath.Clean(target)
	if targets[clean] {
		r.problem(r.at(path...), fmt.Sprintf("%s%s is mounted twice", subject(path[:2]), target), "keep one of them")
	}
	targets[clean] = true
	if !strings.HasPrefix(target, "/") {
		r.problem(r.at(path...), fmt.Sprintf("%sthe path %q does not begin with a slash", subject(path[:2]), target), "")
	}
	if strings.Contains(target, ":") {
		r.problem(r.at(path...), fmt.Sprintf("%sthe path %q has a colon in it, which Kubernetes does not allow", subject(path[:2]), target), "")
	}
}

func (r *reading) checkTmpfs(spec, options string, path []string) {
	for _, o := range strings.Split(options, ",") {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "", "rw", "exec", "suid", "dev", "nodev", "nosuid", "noexec":
		case "size":
			if _, err := units.RAMInBytes(value); err != nil {
				r.problem(r.at(path...), fmt.Sprintf("%stmpfs: %q is not a size", subject(path[:2]), value), "as in size=64m")
			}
		default:
			r.warn(r.at(path...), fmt.Sprintf("%stmpfs: option %s is ignored", subject(path[:2]), name), "")
		}
	}
	_ = spec
}

// sockets are paths of the host that let a container rule it.
var sockets = regexp.MustCompile(`(^|/)(docker|podman|containerd|crio)(/[^/]*)?\.sock$`)

// bind reads what a bind mount holds. It is a copy: only files of the project itself, read only, up to 1 MiB.
func (r *reading) bind(v types.ServiceVolumeConfig, path []string) {
	about := subject(path[:2])
	at := r.at(path...)
	source := filepath.Clean(v.Source)
	if sockets.MatchString(source) {
		r.problem(at, fmt.Sprintf("%s%s is not carried: there is no Docker Engine behind this socket, and whoever has it owns the host", about, v.Source),
			"leave the service out; perch ps and perch logs show what it would show")
		return
	}
	if _, known := r.project.Binds[source]; known {
		return
	}
	inside, err := r.insideProject(source)
	switch {
	case err != nil && !within(r.dir, source):
		r.problem(at, fmt.Sprintf("%sbind mount of %s is not carried: it is outside of the project's folder", about, v.Source),
			"use a named volume for data that the container writes, or copy what it reads into the project")
		return
	case os.IsNotExist(err):
		r.problem(at, fmt.Sprintf("%sbind mount of %s: there is no such file or folder", about, r.relative(source)),
			"use a named volume for data that the container writes")
		return
	case err != nil:
		r.problem(at, fmt.Sprintf("%sbind mount of %s: %s", about, r.relative(source), reason(err)), readHint(err))
		return
	case !inside:
		r.problem(at, fmt.Sprintf("%sbind mount of %s is not carried: it is outside of the project's folder", about, v.Source),
			"copy it into the project, build it into the image, or give it with secrets: or configs:")
		return
	}
	tree, err := readTree(source)
	switch {
	case err != nil:
		r.problem(at, fmt.Sprintf("%sbind mount of %s is not carried: %s", about, r.relative(source), reason(err)),
			"build it into the image with COPY, or use a named volume for data")
		return
	case len(tree.Files) == 0:
		r.problem(at, fmt.Sprintf("%sbind mount of %s is not carried: the folder is empty, and what the container writes would be lost", about, r.relative(source)),
			"use a named volume for data that the container writes")
		return
	}
	if !v.ReadOnly {
		r.warn(at, fmt.Sprintf("%sbind mount of %s is carried in part: it is a copy that cannot be written to, taken at each up", about, r.relative(source)),
			"write :ro to say so, or use a named volume for data that the container writes")
	}
	if r.project.Binds == nil {
		r.project.Binds = map[string]Tree{}
	}
	r.project.Binds[v.Source] = tree
	r.project.Binds[source] = tree
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

// readTree reads a file, or all files below a folder. Links are not followed: they could lead out of the project.
func readTree(root string) (Tree, error) {
	info, err := os.Stat(root)
	if err != nil {
		return Tree{}, err
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return Tree{}, fmt.Errorf("it is not a regular file")
		}
		if info.Size() > largestBind {
			return Tree{}, tooBig(info.Size())
		}
		data, err := os.ReadFile(root)
		if err != nil {
			return Tree{}, err
		}
		file := TreeFile{Mode: uint32(info.Mode().Perm()), Data: data}
		return Tree{Sensitive: secretFile.MatchString(filepath.Base(root)), Files: []TreeFile{file}}, nil
	}
	tree := Tree{Folder: true}
	size := int64(0)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is a link or no regular file", filepath.Base(path))
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if size += info.Size(); size > largestBind {
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
	return tree, err
}

func tooBig(size int64) error {
	return fmt.Errorf("it holds %s or more, and a copy of project files may hold 1 MiB", units.BytesSize(float64(size)))
}

// volumeObjects checks the volumes themselves, and who shares them.
func (r *reading) volumeObjects() {
	users := map[string][]string{}
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				users[v.Source] = append(users[v.Source], name)
				if s.GetScale() > 1 {
					r.warn(r.at("services", name, "volumes"), fmt.Sprintf("service %q: its %d replicas share volume %q, which needs them all on one node",
						name, s.GetScale(), v.Source), "on a cluster of several nodes, keep one replica")
				}
			}
		}
	}
	for _, name := range sortedNames(r.project.Project.Volumes) {
		v := r.project.Project.Volumes[name]
		path := []string{"volumes", name}
		if shared := users[name]; len(shared) > 1 {
			r.warn(r.at(path...), fmt.Sprintf("volume %q is shared by %s, which needs them all on one node", name, strings.Join(shared, " and ")),
				"on a cluster of several nodes, give each its own")
		}
		for _, option := range sortedNames(v.DriverOpts) {
			at := r.at(append(slices.Clone(path), "driver_opts", option)...)
			switch {
			case option == "size" && len(v.DriverOpts) == 1:
				r.checkDockerSize(v.DriverOpts[option], at, path)
			case bool(v.External):
			default:
				r.problem(at, fmt.Sprintf("volume %q: driver_opts %s is not carried: volumes come from the cluster's storage class", name, option),
					"leave driver_opts out; x-perch.size gives a size")
			}
		}
	}
}

func (r *reading) checkDockerSize(size string, at position, path []string) {
	if n, err := units.RAMInBytes(size); err != nil || n <= 0 {
		r.problem(at, fmt.Sprintf("%s%q is not a size", subject(path), size), "as in 5g")
	}
}
