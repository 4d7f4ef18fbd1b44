package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

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
			if v.Bind != nil && strings.HasSuffix(v.Bind.Propagation, "shared") && !c.Privileged {
				r.problem(r.at(at...), fmt.Sprintf("%spropagation %s is for privileged containers in Kubernetes", subject(path), v.Bind.Propagation),
					"write privileged: true, or propagation: rslave")
			}
		case types.VolumeTypeVolume:
			if v.Source == "" {
				continue
			}
			if _, ok := r.project.Project.Volumes[v.Source]; !ok {
				r.undefined(at, "volume", v.Source, sortedNames(r.project.Project.Volumes))
			}
		case types.VolumeTypeTmpfs:
		case types.VolumeTypeImage:
			if v.Source == "" {
				r.problem(r.at(at...), fmt.Sprintf("%sthe image at %s has no source", subject(path), v.Target), "write source: IMAGE")
			}
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
		case "", "rw", "exec", "suid", "dev", "nodev", "nosuid", "noexec", "uid", "gid":
		case "mode":
			if _, err := strconv.ParseUint(value, 8, 12); err != nil {
				r.problem(r.at(path...), fmt.Sprintf("%stmpfs: %q is not a mode", subject(path[:2]), value), "as in mode=1777")
			}
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

// volumeObjects checks the volumes themselves, and who shares them.
func (r *reading) volumeObjects() {
	users := map[string][]string{}
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				users[v.Source] = append(users[v.Source], name)
				if s.GetScale() > 1 && r.oneNode(v.Source) {
					r.warn(r.at("services", name, "volumes"), fmt.Sprintf("service %q: its %d replicas share volume %q, which needs them all on one node",
						name, s.GetScale(), v.Source), "on a cluster of several nodes, keep one replica")
				}
			}
		}
	}
	for _, name := range sortedNames(r.project.Project.Volumes) {
		v := r.project.Project.Volumes[name]
		path := []string{"volumes", name}
		if shared := users[name]; len(shared) > 1 && r.oneNode(name) {
			r.warn(r.at(path...), fmt.Sprintf("volume %q is shared by %s, which needs them all on one node", name, strings.Join(shared, " and ")),
				"on a cluster of several nodes, give each its own")
		}
		if !bool(v.External) {
			r.checkBacking(v, path, users[name])
		}
	}
}

// oneNode tells whether those who share a volume must be on one node of a cluster that may have several.
func (r *reading) oneNode(volume string) bool {
	b, err := BackingOf(r.project.Project.Volumes[volume])
	return !r.options.Embedded && err == nil && b.NFSServer == "" && !b.Memory
}

// checkBacking checks what a volume is made of when it is not the cluster's storage.
func (r *reading) checkBacking(v types.VolumeConfig, path, users []string) {
	at := r.at(append(slices.Clone(path), "driver_opts")...)
	b, err := BackingOf(v)
	if err != nil {
		if v.Driver == "" || v.Driver == "local" { // else the table has refused it
			r.problem(at, subject(path)+err.Error(), "leave driver_opts out; x-perch.size gives a size")
		}
		return
	}
	if b.Size != "" {
		r.checkDockerSize(b.Size, at, path)
	}
	if len(b.Ignored) > 0 {
		r.warn(at, fmt.Sprintf("%sdriver_opts is carried in part: Kubernetes has no word for %s here", subject(path), strings.Join(b.Ignored, ", ")), "")
	}
	switch {
	case b.Memory && len(users) > 1:
		r.warn(at, fmt.Sprintf("%sit is memory of each pod, so %s do not share it", subject(path), strings.Join(users, " and ")), "leave type: tmpfs out")
	case b.HostPath != "" && sockets.MatchString(b.HostPath):
		r.problem(at, fmt.Sprintf("%s%s is not carried: there is no Docker Engine behind this socket", subject(path), b.HostPath), "leave it out")
	case b.HostPath != "" && !r.options.Embedded:
		r.problem(at, fmt.Sprintf("%sdevice %s is not carried: it is a path of a machine, and the cluster's nodes are others", subject(path), b.HostPath),
			"leave driver_opts out, so that the volume comes from the cluster's storage")
	case b.HostPath != "" && len(users) > 0:
		if _, err := os.Stat(b.HostPath); err != nil {
			r.problem(at, fmt.Sprintf("%sdevice %s: %s", subject(path), b.HostPath, reason(err)), "make the folder")
		}
	}
}

func (r *reading) checkDockerSize(size string, at position, path []string) {
	if n, err := units.RAMInBytes(size); err != nil || n <= 0 {
		r.problem(at, fmt.Sprintf("%s%q is not a size", subject(path), size), "as in 5g")
	}
}
