package corpus

import (
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// view reads the objects of a project as its containers will see them.
type view struct {
	pods     []corev1.PodTemplateSpec
	config   map[string]map[string]string // data of ConfigMaps and Secrets, by "configmap/NAME" and "secret/NAME"
	services map[string]*corev1.Service
}

func look(all []runtime.Object) view {
	v := view{config: map[string]map[string]string{}, services: map[string]*corev1.Service{}}
	for _, o := range all {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			data := map[string]string{}
			for k, d := range o.BinaryData {
				data[k] = string(d)
			}
			for k, d := range o.Data {
				data[k] = d
			}
			v.config["configmap/"+o.Name] = data
		case *corev1.Secret:
			v.config["secret/"+o.Name] = secretText(o)
		case *corev1.Service:
			v.services[o.Name] = o
		case *appsv1.Deployment:
			v.pods = append(v.pods, o.Spec.Template)
		case *appsv1.StatefulSet:
			v.pods = append(v.pods, o.Spec.Template)
		case *appsv1.DaemonSet:
			v.pods = append(v.pods, o.Spec.Template)
		case *batchv1.Job:
			v.pods = append(v.pods, o.Spec.Template)
		case *batchv1.CronJob:
			v.pods = append(v.pods, o.Spec.JobTemplate.Spec.Template)
		}
	}
	return v
}

// container is a service's container and the pod that it is in.
func (v view) container(service string) (pod corev1.PodSpec, c corev1.Container, found bool) {
	name := compose.Name(service)
	for _, p := range v.pods {
		for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			if c.Name == name {
				return p.Spec, c, true
			}
		}
	}
	return pod, c, false
}

// environment is what a program in the container sees of config; fields of the pod have their path for a value.
func (v view) environment(c corev1.Container) map[string]string {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		key := ""
		if from.ConfigMapRef != nil {
			key = "configmap/" + from.ConfigMapRef.Name
		}
		if from.SecretRef != nil {
			key = "secret/" + from.SecretRef.Name
		}
		for k, value := range v.config[key] {
			env[from.Prefix+k] = value
		}
	}
	for _, e := range c.Env {
		env[e.Name] = expand(e.Value)
		if f := e.ValueFrom; f != nil && f.FieldRef != nil {
			env[e.Name] = f.FieldRef.FieldPath
		}
		if f := e.ValueFrom; f != nil && f.SecretKeyRef != nil {
			env[e.Name] = v.config["secret/"+f.SecretKeyRef.Name][f.SecretKeyRef.Key]
		}
		if f := e.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
			env[e.Name] = v.config["configmap/"+f.ConfigMapKeyRef.Name][f.ConfigMapKeyRef.Key]
		}
	}
	return env
}

// expand is what the kubelet makes of $$( in commands and values when no $(NAME) is meant.
func expand(s string) string { return strings.ReplaceAll(s, "$$", "$") }

// mount is the volume that a path of the container is in.
func mountOf(pod corev1.PodSpec, c corev1.Container, target string) (corev1.VolumeMount, corev1.Volume, bool) {
	target = path.Clean(target)
	best, found := corev1.VolumeMount{}, false
	for _, m := range c.VolumeMounts {
		at := path.Clean(m.MountPath)
		if (at == target || strings.HasPrefix(target, strings.TrimSuffix(at, "/")+"/")) && (!found || len(at) > len(best.MountPath)) {
			best, found = m, true
		}
	}
	for _, volume := range pod.Volumes {
		if found && volume.Name == best.Name {
			return best, volume, true
		}
	}
	return best, corev1.Volume{}, false
}

// file is the content of a file that is mounted at that path from a ConfigMap or Secret.
func (v view) file(pod corev1.PodSpec, c corev1.Container, target string) (content string, mode int32, found bool) {
	m, volume, ok := mountOf(pod, c, target)
	if !ok {
		return "", 0, false
	}
	rest := strings.Trim(strings.TrimPrefix(path.Clean(target), path.Clean(m.MountPath)), "/")
	inside := path.Join(m.SubPath, rest)
	for _, p := range projections(volume) {
		data := v.config[p.from]
		if len(p.items) == 0 {
			if content, ok := data[inside]; ok {
				return content, p.mode, true
			}
		}
		for _, item := range p.items {
			if path.Clean(item.Path) == inside {
				mode := p.mode
				if item.Mode != nil {
					mode = *item.Mode
				}
				content, ok := data[item.Key]
				return content, mode, ok
			}
		}
	}
	return "", 0, false
}

// projection is one source of a volume.
type projection struct {
	from  string
	items []corev1.KeyToPath
	mode  int32
}

func projections(volume corev1.Volume) []projection {
	mode := func(m *int32) int32 {
		if m == nil {
			return 0o644
		}
		return *m
	}
	var out []projection
	if s := volume.Secret; s != nil {
		out = append(out, projection{"secret/" + s.SecretName, s.Items, mode(s.DefaultMode)})
	}
	if s := volume.ConfigMap; s != nil {
		out = append(out, projection{"configmap/" + s.Name, s.Items, mode(s.DefaultMode)})
	}
	if volume.Projected == nil {
		return out
	}
	for _, source := range volume.Projected.Sources {
		if s := source.Secret; s != nil {
			out = append(out, projection{"secret/" + s.Name, s.Items, mode(volume.Projected.DefaultMode)})
		}
		if s := source.ConfigMap; s != nil {
			out = append(out, projection{"configmap/" + s.Name, s.Items, mode(volume.Projected.DefaultMode)})
		}
	}
	return out
}
