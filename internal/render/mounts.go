package render

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// mounts is all that a container has mounted.
type mounts struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
	config  []runtime.Object
	fills   []fill
	claims  bool // a PersistentVolumeClaim is among the volumes
}

func (m *mounts) add(v corev1.Volume, at corev1.VolumeMount) {
	at.Name = v.Name
	if !slices.ContainsFunc(m.volumes, func(known corev1.Volume) bool { return known.Name == v.Name }) {
		m.volumes = append(m.volumes, v)
	}
	m.mounts = append(m.mounts, at)
}

func clean(target string) string { return path.Clean("/" + target) }

// mounts turns volumes, tmpfs, devices, shm_size, secrets and configs of a container into volumes of its pod.
func (b *builder) mounts(r runs) (mounts, error) {
	var m mounts
	for i, v := range r.spec.Volumes {
		if err := b.volume(&m, r, i, v); err != nil {
			return mounts{}, err
		}
	}
	for _, spec := range r.spec.Tmpfs {
		if err := b.tmpfs(&m, r, spec); err != nil {
			return mounts{}, err
		}
	}
	for i, d := range r.spec.Devices {
		target := cmp.Or(d.Target, d.Source)
		m.add(hostPath(fmt.Sprintf("device-%d", i), d.Source, ""), corev1.VolumeMount{MountPath: target})
	}
	if r.spec.ShmSize > 0 {
		m.add(memory(r.own("shm"), int64(r.spec.ShmSize)), corev1.VolumeMount{MountPath: "/dev/shm"})
	}
	b.files(&m, r.spec)
	slices.SortStableFunc(m.volumes, func(a, b corev1.Volume) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(m.mounts, func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) })
	return m, nil
}

func (b *builder) volume(m *mounts, r runs, i int, v types.ServiceVolumeConfig) error {
	at := corev1.VolumeMount{MountPath: v.Target, ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeVolume:
		b.named(m, r, i, v, at)
	case types.VolumeTypeTmpfs:
		var t types.ServiceVolumeTmpfs
		if v.Tmpfs != nil {
			t = *v.Tmpfs
		}
		volume := memory(r.own(slug("tmpfs", v.Target)), int64(t.Size))
		b.prepareTmpfs(m, r, volume, tmpfsOptions{target: v.Target, mode: t.Mode}, "volumes")
		m.add(volume, at)
	case types.VolumeTypeBind:
		tree, ok := b.project.Binds[v.Source]
		if !ok {
			return fmt.Errorf("bind mount of %s was not read", v.Source)
		}
		b.bind(m, r, i, v, tree, at)
	case types.VolumeTypeImage:
		if v.Image != nil {
			at.SubPath = v.Image.SubPath
		}
		at.ReadOnly = true
		m.add(corev1.Volume{Name: slug("image", v.Target), VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: v.Source, PullPolicy: corev1.PullIfNotPresent},
		}}, at)
	default:
		return fmt.Errorf("volume of type %q", v.Type)
	}
	return nil
}

// named mounts an anonymous or a named volume.
func (b *builder) named(m *mounts, r runs, i int, v types.ServiceVolumeConfig, at corev1.VolumeMount) {
	var volume corev1.Volume
	if v.Source == "" {
		owner := b.owners[r.of][clean(v.Target)]
		name := slug("anonymous", v.Target)
		if owner != "" && b.hostOf(owner) != owner {
			name = compose.NameWithin(compose.Name(owner)+"-"+name, 63)
		}
		volume = corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	} else {
		if v.Volume != nil {
			at.SubPath = v.Volume.Subpath
		}
		readOnly := false
		volume, readOnly = b.source(r, v.Source)
		at.ReadOnly = at.ReadOnly || readOnly
		m.claims = m.claims || volume.PersistentVolumeClaim != nil
	}
	if volume.HostPath == nil && volume.NFS == nil && (v.Volume == nil || (!v.Volume.NoCopy && v.Volume.Subpath == "")) {
		b.prepareCopy(m, r, i, volume, v.Target)
	}
	m.add(volume, at)
}

// own is the name of a volume that no other container of the pod sees.
func (r runs) own(name string) string { return compose.NameWithin(r.scratch+name, 63) }

// prefixed leaves in m only the volumes that the pod does not have yet, and renames those whose name is taken by another.
func prefixed(m mounts, there []corev1.Volume, prefix string) mounts {
	var fresh []corev1.Volume
	for _, v := range m.volumes {
		known := slices.IndexFunc(there, func(k corev1.Volume) bool { return k.Name == v.Name })
		switch {
		case known < 0:
			fresh = append(fresh, v)
		case hash10(there[known]) == hash10(v): // the same volume: share it
		default:
			old := v.Name
			v.Name = compose.NameWithin(prefix+old, 63)
			for i := range m.mounts {
				if m.mounts[i].Name == old {
					m.mounts[i].Name = v.Name
				}
			}
			for i := range m.fills {
				if m.fills[i].volume == old {
					m.fills[i].volume = v.Name
				}
			}
			fresh = append(fresh, v)
		}
	}
	m.volumes = fresh
	return m
}

// slug is the name of a volume after what it is and where it is mounted: stable when the list changes around it.
func slug(kind, target string) string {
	target = clean(target)
	name := kind + strings.ReplaceAll(target, "/", "-")
	if compose.Name(name) != name || strings.Contains(target, "-") {
		name += "-" + hash10(target)[:5]
	}
	return compose.NameWithin(name, 50)
}

func volumeName(name string) string { return compose.NameWithin("volume-"+name, 63) }

func memory(name string, size int64) corev1.Volume {
	dir := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if size > 0 {
		dir.SizeLimit = resource.NewQuantity(size, resource.BinarySI)
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: dir}}
}

func hostPath(name, path string, kind corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
}

// tmpfsOptions are what "/run:size=64m,mode=1777,uid=1000" says.
type tmpfsOptions struct {
	target string
	size   int64 // 0: no limit
	mode   uint32
	owner  string // uid:gid, "" for what the runtime gives
}

func parseTmpfs(spec string) (tmpfsOptions, error) {
	target, options, _ := strings.Cut(spec, ":")
	t := tmpfsOptions{target: target}
	uid, gid := "", ""
	for _, o := range strings.Split(options, ",") {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "size":
			size, err := units.RAMInBytes(value)
			if err != nil {
				return t, fmt.Errorf("tmpfs %q: %w", spec, err)
			}
			t.size = size
		case "mode":
			mode, err := strconv.ParseUint(value, 8, 12)
			if err != nil {
				return t, fmt.Errorf("tmpfs %q: mode %q is no octal number", spec, value)
			}
			t.mode = uint32(mode)
		case "uid":
			uid = value
		case "gid":
			gid = value
		}
	}
	if uid != "" || gid != "" {
		t.owner = cmp.Or(uid, "0") + ":" + cmp.Or(gid, "0")
	}
	return t, nil
}

func (b *builder) tmpfs(m *mounts, r runs, spec string) error {
	t, err := parseTmpfs(spec)
	if err != nil {
		return err
	}
	volume := memory(r.own(slug("tmpfs", t.target)), t.size)
	b.prepareTmpfs(m, r, volume, t, "tmpfs")
	m.add(volume, corev1.VolumeMount{MountPath: t.target})
	return nil
}

// bind mounts a path of this machine, or the content of project files from a ConfigMap, or a Secret when one of them looks
// like one.
func (b *builder) bind(m *mounts, r runs, i int, v types.ServiceVolumeConfig, tree compose.Tree, at corev1.VolumeMount) {
	if tree.Host != "" {
		kind := corev1.HostPathUnset
		if tree.Create {
			kind = corev1.HostPathDirectoryOrCreate
		}
		propagate(&at, v)
		b.weaker(r, "volumes", levelPrivileged, "a folder or file of the node is mounted at "+v.Target)
		m.add(hostPath(slug("host", v.Target), tree.Host, kind), at)
		return
	}
	data := map[string][]byte{}
	var items []corev1.KeyToPath
	for n, file := range tree.Files {
		key := fmt.Sprintf("%03d", n)
		data[key] = file.Data
		name := file.Path
		if !tree.Folder {
			name = path.Base(at.MountPath)
		}
		items = append(items, corev1.KeyToPath{Key: key, Path: name, Mode: new(readable(file.Mode))})
	}
	if tree.Folder {
		for n, place := range b.places(r.spec, v.Target, tree) {
			key := fmt.Sprintf("place-%d", n)
			data[key] = nil
			items = append(items, corev1.KeyToPath{Key: key, Path: place})
		}
	}
	source := corev1.VolumeSource{}
	base := fmt.Sprintf("%s-files-%d", compose.Name(r.of), i)
	if tree.Sensitive {
		s := b.secret(base, r.of, data)
		m.config = append(m.config, s)
		source.Secret = &corev1.SecretVolumeSource{SecretName: s.Name, Items: items, DefaultMode: new(int32(defaultFileMode))}
	} else {
		c := b.configMap(base, r.of, data)
		m.config = append(m.config, c)
		source.ConfigMap = &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: c.Name}, Items: items, DefaultMode: new(int32(defaultFileMode)),
		}
	}
	at.ReadOnly = true
	if !tree.Folder {
		at.SubPath = path.Base(at.MountPath)
	}
	m.add(corev1.Volume{Name: fmt.Sprintf("files-%d", i), VolumeSource: source}, at)
}

// places are the paths in a copied folder where something else of the container is mounted and the folder has nothing:
// as it cannot be written to, they must be there before. For what is a folder, a file in it does that.
func (b *builder) places(c types.ContainerSpec, target string, tree compose.Tree) []string {
	var all []string
	add := func(path string, folder bool) {
		below, ok := strings.CutPrefix(clean(path), strings.TrimSuffix(clean(target), "/")+"/")
		if !ok || slices.ContainsFunc(tree.Files, func(f compose.TreeFile) bool { return f.Path == below || strings.HasPrefix(f.Path, below+"/") }) {
			return
		}
		if folder {
			below += "/.mounted-over"
		}
		if !slices.Contains(all, below) {
			all = append(all, below)
		}
	}
	for _, v := range c.Volumes {
		add(v.Target, v.Type != types.VolumeTypeBind || b.project.Binds[v.Source].Folder || b.project.Binds[v.Source].Create)
	}
	for _, t := range c.Tmpfs {
		before, _, _ := strings.Cut(t, ":")
		add(before, true)
	}
	for _, s := range c.Configs {
		add(configTarget(s), false)
	}
	for _, s := range c.Secrets {
		add(secretTarget(s), false)
	}
	slices.Sort(all)
	return all
}

// propagate carries bind.propagation and bind.recursive.
func propagate(at *corev1.VolumeMount, v types.ServiceVolumeConfig) {
	if v.Bind == nil {
		return
	}
	switch v.Bind.Propagation {
	case "shared", "rshared":
		at.MountPropagation = new(corev1.MountPropagationBidirectional)
	case "slave", "rslave":
		at.MountPropagation = new(corev1.MountPropagationHostToContainer)
	}
	if v.Bind.Recursive == "readonly" && v.ReadOnly {
		at.RecursiveReadOnly = new(corev1.RecursiveReadOnlyEnabled)
	}
}

// readable keeps whether a file can be executed. All may read it: in the pod it belongs to root, not to its owner here.
func readable(mode uint32) int32 {
	if mode&0o111 != 0 {
		return 0o555
	}
	return defaultFileMode
}

// source is where the data of a named volume is: a claim, or what its driver_opts say. readOnly is for all who mount it.
func (b *builder) source(r runs, name string) (volume corev1.Volume, readOnly bool) {
	v := b.project.Volumes[name]
	backing := b.backing(name)
	for _, o := range backing.Ignored {
		b.note(runs{path: "volumes." + name}, "driver_opts", "the mount option %s is left out: Kubernetes has no word for it", o)
	}
	switch {
	case bool(v.External):
	case backing.NFSServer != "":
		b.weaker(r, "volumes", levelBaseline, fmt.Sprintf("volume %q is mounted over NFS", name))
		return corev1.Volume{Name: volumeName(name), VolumeSource: corev1.VolumeSource{
			NFS: &corev1.NFSVolumeSource{Server: backing.NFSServer, Path: backing.NFSPath, ReadOnly: backing.ReadOnly},
		}}, backing.ReadOnly
	case backing.HostPath != "":
		b.weaker(r, "volumes", levelPrivileged, fmt.Sprintf("volume %q is a folder of the node", name))
		return hostPath(volumeName(name), backing.HostPath, corev1.HostPathDirectory), backing.ReadOnly
	case backing.Memory:
		size, err := units.RAMInBytes(backing.Size)
		if err != nil {
			size = 0 // none was given
		}
		return memory(volumeName(name), size), false
	}
	return corev1.Volume{Name: volumeName(name), VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: b.claimName(name)},
	}}, false
}

// backing is what stands behind a named volume. Package compose has refused what is not carried.
func (b *builder) backing(name string) compose.Backing {
	backing, err := compose.BackingOf(b.project.Volumes[name])
	if err != nil {
		return compose.Backing{}
	}
	return backing
}

// claimed tells whether a named volume is a claim of the project's.
func (b *builder) claimed(name string) bool {
	backing := b.backing(name)
	return !bool(b.project.Volumes[name].External) && backing.NFSServer == "" && backing.HostPath == "" && !backing.Memory
}

// claimName is the name of the claim of a volume: its key, so that it does not depend on the project's name, or the
// name that the file gives it.
func (b *builder) claimName(volume string) string {
	v := b.project.Volumes[volume]
	if v.Name != "" && v.Name != b.project.Name+"_"+volume {
		return compose.Name(v.Name)
	}
	return compose.Name(volume)
}

// defaultSize is what a volume asks for when the file does not say.
const defaultSize = "1Gi"

// claims are the PersistentVolumeClaims of all volumes that a service or job mounts.
func (b *builder) claims() []runtime.Object {
	used := map[string]types.Labels{}
	for _, name := range sortedKeys(b.services) {
		s := b.services[name]
		mounted(used, s.Volumes)
		for _, hook := range s.PreStart {
			mounted(used, hook.Volumes)
		}
	}
	for _, name := range sortedKeys(b.project.Jobs) {
		mounted(used, b.project.Jobs[name].Volumes)
	}
	var all []runtime.Object
	for _, name := range sortedKeys(used) {
		if b.claimed(name) {
			all = append(all, b.claim(name, used[name]))
		}
	}
	return all
}

// mounted adds the named volumes among some to those that are used, with the labels that who mounts them gives them.
func mounted(used map[string]types.Labels, volumes []types.ServiceVolumeConfig) {
	for _, v := range volumes {
		if v.Type != types.VolumeTypeVolume || v.Source == "" {
			continue
		}
		if used[v.Source] == nil {
			used[v.Source] = types.Labels{}
		}
		if v.Volume != nil {
			maps.Copy(used[v.Source], v.Volume.Labels)
		}
	}
}

func (b *builder) claim(name string, labels types.Labels) *corev1.PersistentVolumeClaim {
	v := b.project.Volumes[name]
	size := defaultSize
	if s := b.backing(name).Size; s != "" {
		size = s
	}
	if s := b.project.VolumeExtensions[name].Size; s != "" {
		size = s
	}
	meta := b.outside(b.claimName(name), name, "volume")
	putLabels(&meta, labels)
	putLabels(&meta, v.Labels)
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: meta,
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: quantity(size),
			}},
		},
	}
	if b.target.StorageClass != "" {
		claim.Spec.StorageClassName = &b.target.StorageClass
	}
	return claim
}
