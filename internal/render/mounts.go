package render

import (
	"cmp"
	"fmt"
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

// secretsDir is where Compose puts secrets. It holds exactly those of the service.
const secretsDir = "/run/secrets"

// defaultFileMode is what secrets and configs have when the file does not say: readable by all in the container.
const defaultFileMode = 0o444

// mounts is all that a container has mounted.
type mounts struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
	config  []runtime.Object
	claims  bool // a PersistentVolumeClaim is among the volumes
}

func (m *mounts) add(v corev1.Volume, at corev1.VolumeMount) {
	at.Name = v.Name
	if !slices.ContainsFunc(m.volumes, func(known corev1.Volume) bool { return known.Name == v.Name }) {
		m.volumes = append(m.volumes, v)
	}
	m.mounts = append(m.mounts, at)
}

// mounts turns volumes, tmpfs, shm_size, secrets and configs of a container into volumes of its pod.
func (b *builder) mounts(of string, c types.ContainerSpec) (mounts, error) {
	var m mounts
	for i, v := range c.Volumes {
		if err := b.volume(&m, of, i, v); err != nil {
			return mounts{}, err
		}
	}
	for i, spec := range c.Tmpfs {
		if err := tmpfs(&m, i, spec); err != nil {
			return mounts{}, err
		}
	}
	if c.ShmSize > 0 {
		m.add(memory("shm", int64(c.ShmSize)), corev1.VolumeMount{MountPath: "/dev/shm"})
	}
	b.files(&m, c)
	slices.SortStableFunc(m.volumes, func(a, b corev1.Volume) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(m.mounts, func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) })
	return m, nil
}

func (b *builder) volume(m *mounts, of string, i int, v types.ServiceVolumeConfig) error {
	at := corev1.VolumeMount{MountPath: v.Target, ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeVolume:
		if v.Source == "" {
			m.add(corev1.Volume{
				Name: fmt.Sprintf("anonymous-%d", i), VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
			}, at)
			return nil
		}
		if v.Volume != nil {
			at.SubPath = v.Volume.Subpath
		}
		m.claims = true
		m.add(corev1.Volume{Name: volumeName(v.Source), VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: b.claimName(v.Source)},
		}}, at)
	case types.VolumeTypeTmpfs:
		size := int64(0)
		if v.Tmpfs != nil {
			size = int64(v.Tmpfs.Size)
		}
		m.add(memory(fmt.Sprintf("tmpfs-volume-%d", i), size), at)
	case types.VolumeTypeBind:
		tree, ok := b.project.Binds[v.Source]
		if !ok {
			return fmt.Errorf("bind mount of %s was not read", v.Source)
		}
		b.bind(m, of, i, tree, at)
	default:
		return fmt.Errorf("volume of type %q", v.Type)
	}
	return nil
}

func volumeName(name string) string { return compose.NameWithin("volume-"+name, 63) }

func memory(name string, size int64) corev1.Volume {
	dir := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if size > 0 {
		dir.SizeLimit = resource.NewQuantity(size, resource.BinarySI)
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: dir}}
}

// tmpfs reads "/run" or "/run:size=64m,mode=1777".
func tmpfs(m *mounts, i int, spec string) error {
	target, options, _ := strings.Cut(spec, ":")
	size := int64(0)
	for _, o := range strings.Split(options, ",") {
		if text, ok := strings.CutPrefix(o, "size="); ok {
			var err error
			if size, err = units.RAMInBytes(text); err != nil {
				return fmt.Errorf("tmpfs %q: %w", spec, err)
			}
		}
	}
	m.add(memory(fmt.Sprintf("tmpfs-%d", i), size), corev1.VolumeMount{MountPath: target})
	return nil
}

// bind mounts the content of project files, from a ConfigMap, or a Secret when one of them looks like one.
func (b *builder) bind(m *mounts, of string, i int, tree compose.Tree, at corev1.VolumeMount) {
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
	source := corev1.VolumeSource{}
	base := fmt.Sprintf("%s-files-%d", compose.Name(of), i)
	if tree.Sensitive {
		s := b.secret(base, of, data)
		m.config = append(m.config, s)
		source.Secret = &corev1.SecretVolumeSource{SecretName: s.Name, Items: items, DefaultMode: new(int32(defaultFileMode))}
	} else {
		c := b.configMap(base, of, data)
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

// readable keeps whether a file can be executed. All may read it: in the pod it belongs to root, not to its owner here.
func readable(mode uint32) int32 {
	if mode&0o111 != 0 {
		return 0o555
	}
	return defaultFileMode
}

// file is one secret or config in a container.
type file struct {
	target string
	source string // name of the Compose secret or config, and key in its object
	secret string // name of the Secret, or
	config string // of the ConfigMap
	mode   int32
}

// files mounts secrets and configs: those below /run/secrets as one folder, every other one by itself over what the
// image has in that folder.
func (b *builder) files(m *mounts, c types.ContainerSpec) {
	all := b.fileList(m, c)
	var folder, single []corev1.VolumeProjection
	for i, f := range all {
		if below, ok := strings.CutPrefix(f.target, secretsDir+"/"); ok {
			folder = append(folder, projection(f, below))
			continue
		}
		name := strconv.Itoa(i)
		single = append(single, projection(f, name))
		m.mounts = append(m.mounts, corev1.VolumeMount{Name: "files", MountPath: f.target, SubPath: name, ReadOnly: true})
	}
	if len(folder) > 0 {
		m.add(projected("secrets", folder), corev1.VolumeMount{MountPath: secretsDir, ReadOnly: true})
	}
	if len(single) > 0 {
		m.volumes = append(m.volumes, projected("files", single))
	}
}

func projected(name string, sources []corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: new(int32(defaultFileMode))},
	}}
}

func projection(f file, path string) corev1.VolumeProjection {
	items := []corev1.KeyToPath{{Key: f.source, Path: path, Mode: new(f.mode)}}
	if f.secret != "" {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: f.secret}, Items: items,
		}}
	}
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: f.config}, Items: items,
	}}
}

// fileList is all secrets and configs of a container, sorted by target; their objects go to m.
func (b *builder) fileList(m *mounts, c types.ContainerSpec) []file {
	var all []file
	for _, s := range c.Secrets {
		object := b.secret("secret-"+s.Source, s.Source, map[string][]byte{s.Source: b.project.SecretData[s.Source]})
		m.config = append(m.config, object)
		target := s.Target
		if target == "" {
			target = s.Source
		}
		if !path.IsAbs(target) {
			target = secretsDir + "/" + target
		}
		all = append(all, file{target: path.Clean(target), source: s.Source, secret: object.Name, mode: fileMode(s.Mode)})
	}
	for _, s := range c.Configs {
		object := b.configMap("config-"+s.Source, s.Source, map[string][]byte{s.Source: b.project.ConfigData[s.Source]})
		m.config = append(m.config, object)
		target := s.Target
		if target == "" {
			target = s.Source
		}
		if !path.IsAbs(target) {
			target = "/" + target
		}
		all = append(all, file{target: path.Clean(target), source: s.Source, config: object.Name, mode: fileMode(s.Mode)})
	}
	slices.SortStableFunc(all, func(a, b file) int { return cmp.Compare(a.target, b.target) })
	return all
}

func fileMode(mode *types.FileMode) int32 {
	if mode == nil {
		return defaultFileMode
	}
	return int32(*mode) & 0o777 //nolint:gosec // nine bits
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
	used := map[string]bool{}
	mark := func(c types.ContainerSpec) {
		for _, v := range c.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				used[v.Source] = true
			}
		}
	}
	for _, s := range b.project.Project.Services {
		mark(s.ContainerSpec)
		for _, hook := range s.PreStart {
			mark(hook.ContainerSpec)
		}
	}
	for _, j := range b.project.Jobs {
		mark(j.ContainerSpec)
	}
	var all []runtime.Object
	for _, name := range sortedKeys(used) {
		if v := b.project.Volumes[name]; !bool(v.External) {
			all = append(all, b.claim(name, v))
		}
	}
	return all
}

func (b *builder) claim(name string, v types.VolumeConfig) *corev1.PersistentVolumeClaim {
	size := defaultSize
	if s := v.DriverOpts["size"]; s != "" {
		size = s
	}
	if s := b.project.VolumeExtensions[name].Size; s != "" {
		size = s
	}
	meta := b.outside(b.claimName(name), name, "volume")
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
