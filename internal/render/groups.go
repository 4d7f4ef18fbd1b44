package render

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/compose"
)

// Services that share a network, processes or an anonymous volume are containers of one pod, as only containers of a pod
// can share those. The pod belongs to the service that the others name (the host of the group), and so does the release.

// hostOf is the service in whose pod a service runs: itself, or the one that it joins, and that one joins in turn.
func (b *builder) hostOf(name string) string { return compose.PodOf(b.project.Project, name) }

func (b *builder) known(name string) bool {
	_, ok := b.services[name]
	return ok
}

// sidecarsOf are the services that run in the pod of a host, sorted.
func (b *builder) sidecarsOf(host string) []string {
	var all []string
	for _, name := range sortedKeys(b.services) {
		if name != host && b.hostOf(name) == host {
			all = append(all, name)
		}
	}
	return all
}

// ownNetwork tells whether a service has a network, and so a name, of its own: what joins another's has not.
func ownNetwork(c types.ContainerSpec) bool {
	return c.NetworkMode != "none" && !strings.HasPrefix(c.NetworkMode, types.ServicePrefix)
}

// anonymous are the paths of the anonymous volumes of a service: its own, and those of its image when the image is known.
func (b *builder) anonymous(name string) []string {
	s := b.project.Project.Services[name]
	var all []string
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source == "" {
			all = append(all, clean(v.Target))
		}
	}
	if config := b.image(name, s.ContainerSpec).Config; config != nil {
		for _, path := range sortedKeys(config.Volumes) {
			if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return clean(v.Target) == clean(path) }) {
				all = append(all, clean(path))
			}
		}
	}
	return all
}

// expand puts the volumes that volumes_from names among the service's own. The volumes of an image stay the runtime's
// matter, which makes and fills them, unless another container is to see them: then they are emptyDirs of the pod.
func (b *builder) expand() {
	b.services = map[string]types.ServiceConfig{}
	b.owners = map[string]map[string]string{}
	from := map[string]bool{}
	for _, s := range b.project.Project.Services {
		b.services[s.Name] = s
		for _, text := range s.VolumesFrom {
			other, _, _ := strings.Cut(text, ":")
			from[other] = true
		}
	}
	own := map[string][]types.ServiceVolumeConfig{}
	for _, name := range sortedKeys(b.services) {
		volumes := slices.Clone(b.services[name].Volumes)
		for _, path := range b.anonymous(name) {
			if !from[name] || slices.ContainsFunc(volumes, func(v types.ServiceVolumeConfig) bool { return clean(v.Target) == path }) {
				continue
			}
			volumes = append(volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Target: path})
		}
		own[name] = volumes
	}
	for _, name := range sortedKeys(b.services) {
		s := b.services[name]
		b.owners[name] = map[string]string{}
		s.Volumes = b.volumesOf(own, name, name, nil)
		if b.project.Elsewhere(name) {
			s.Volumes, s.PreStart = nil, nil // no container of ours mounts them
		}
		b.services[name] = s
		for _, text := range s.VolumesFrom {
			other, _, _ := strings.Cut(text, ":")
			if of, ok := b.project.Project.Services[other]; ok && len(own[other]) == 0 && b.image(other, of.ContainerSpec).Config == nil {
				b.note(runs{path: "services." + name}, "volumes_from", "the volumes that the image of %q has are not known, so none of them is shared", other)
			}
		}
	}
}

// volumesOf are the volumes of a service and, at other paths, of those that it takes volumes from. Who an anonymous one
// belongs to is kept in owners, by the service that asks and the path.
func (b *builder) volumesOf(own map[string][]types.ServiceVolumeConfig, name, asking string, seen []string) []types.ServiceVolumeConfig {
	if slices.Contains(seen, name) {
		return nil
	}
	all := slices.Clone(own[name])
	for _, v := range all {
		if _, taken := b.owners[asking][clean(v.Target)]; !taken {
			b.owners[asking][clean(v.Target)] = name
		}
	}
	for _, text := range b.project.Project.Services[name].VolumesFrom {
		other, mode, _ := strings.Cut(text, ":")
		for _, v := range b.volumesOf(own, other, asking, append(slices.Clone(seen), name)) {
			if slices.ContainsFunc(all, func(known types.ServiceVolumeConfig) bool { return clean(known.Target) == clean(v.Target) }) {
				continue
			}
			v.ReadOnly = v.ReadOnly || mode == "ro"
			all = append(all, v)
		}
	}
	return all
}
