package render

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// secretsDir is where Compose puts secrets. It holds exactly those of the service.
const secretsDir = "/run/secrets"

// defaultFileMode is what secrets and configs have when the file does not say: readable by all in the container.
const defaultFileMode = 0o444

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

// secretTarget is the path of a secret in the container.
func secretTarget(s types.ServiceSecretConfig) string {
	target := cmp.Or(s.Target, s.Source)
	if !path.IsAbs(target) {
		target = secretsDir + "/" + target
	}
	return path.Clean(target)
}

// configTarget is the path of a config in the container.
func configTarget(s types.ServiceConfigObjConfig) string { return clean(cmp.Or(s.Target, s.Source)) }

// fileList is all secrets and configs of a container, sorted by target; their objects go to m. An external one is an
// object that somebody else puts into the namespace, with its Compose name as its only key.
func (b *builder) fileList(m *mounts, c types.ContainerSpec) []file {
	var all []file
	for _, s := range c.Secrets {
		def := b.project.Project.Secrets[s.Source]
		f := file{target: secretTarget(s), source: s.Source, mode: fileMode(s.Mode)}
		if def.External {
			f.secret = compose.Name(cmp.Or(def.Name, s.Source))
		} else {
			object := b.secret("secret-"+s.Source, s.Source, map[string][]byte{s.Source: b.project.SecretData[s.Source]})
			putLabels(&object.ObjectMeta, def.Labels)
			m.config = append(m.config, object)
			f.secret = object.Name
		}
		all = append(all, f)
	}
	for _, s := range c.Configs {
		def := b.project.Project.Configs[s.Source]
		f := file{target: configTarget(s), source: s.Source, mode: fileMode(s.Mode)}
		if s.Mode == nil && b.project.ExecutableConfig[s.Source] {
			f.mode = readable(0o111)
		}
		if def.External {
			f.config = compose.Name(cmp.Or(def.Name, s.Source))
		} else {
			object := b.configMap("config-"+s.Source, s.Source, map[string][]byte{s.Source: b.project.ConfigData[s.Source]})
			putLabels(&object.ObjectMeta, def.Labels)
			m.config = append(m.config, object)
			f.config = object.Name
		}
		all = append(all, f)
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
