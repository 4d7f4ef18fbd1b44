package render

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// OneOff is a service to be run once beside those that are up: `perch run SERVICE`.
type OneOff struct {
	Job     *batchv1.Job
	Config  []runtime.Object // what it reads; no other pod does, and no release knows of it
	Volumes []runtime.Object // PersistentVolumeClaims of the project
	Shell   bool             // the image has /bin/sh, and the container's Command is all of what runs
}

// MakeOneOff is what a service becomes to be run once. Its one container has the service's image, variables, secrets,
// volumes, user and limits. It has no probes, hooks and ports, and no labels that a Service selects by, so that no request
// comes to it. What it reads has names of its own, which suffix makes unique: it is removed with it, while that of the
// service comes and goes with releases.
func MakeOneOff(p *compose.Project, images map[string]Image, t Target, service, suffix string) (OneOff, error) {
	b := newBuilder(p, images, t)
	w := b.part(service)
	r := w.run()
	r.ports = nil
	parts, err := b.pod(r)
	if err != nil {
		return OneOff{}, fmt.Errorf("service %q: %w", service, err)
	}
	w.place(&parts.spec)
	w.standing(&parts.spec)
	if b.policies {
		b.networkLabels(&parts.meta, b.networksOf(w.service.ContainerSpec))
	}
	one := OneOff{Volumes: b.claims()}
	one.Job = b.newJob(compose.NameWithin(service, 40)+"-run-"+suffix, service, "run", parts)
	w.userLabels(&one.Job.Spec.Template.ObjectMeta)
	one.Config = renamed(one.Job, unique(parts.config))
	one.Shell = w.image.Shell && wholeCommand(&one.Job.Spec.Template.Spec.Containers[0], w.image)
	return one, nil
}

// wholeCommand writes out what the container would run by its image's word, and tells whether that is known.
func wholeCommand(c *corev1.Container, image Image) bool {
	if image.Config == nil {
		return false
	}
	if c.Command == nil {
		args := c.Args
		if args == nil {
			args = escapeAll(image.Config.Cmd)
		}
		c.Command, c.Args = escapeAll(image.Config.Entrypoint), args
	}
	c.Command, c.Args = slices.Concat(c.Command, c.Args), nil
	return len(c.Command) > 0
}

// renamed gives config objects names after the Job, in it too.
func renamed(job *batchv1.Job, objects []runtime.Object) []runtime.Object {
	names := map[string]string{}
	for i, o := range objects {
		var meta *metav1.ObjectMeta
		o = o.DeepCopyObject()
		switch o := o.(type) {
		case *corev1.ConfigMap:
			meta = &o.ObjectMeta
		case *corev1.Secret:
			meta = &o.ObjectMeta
		default:
			continue
		}
		name := fmt.Sprintf("%s-%d", job.Name, i)
		names[key(o)], meta.Name = name, name
		meta.Labels[labelComponent] = "run" // not config: a deploy removes what no release needs
		objects[i] = o
	}
	renameReferences(&job.Spec.Template.Spec, func(kind, name string) string {
		if other, ok := names[kind+"/"+name]; ok {
			return other
		}
		return name
	})
	return objects
}

// renameReferences gives the pod's references to ConfigMaps and Secrets other names.
func renameReferences(s *corev1.PodSpec, rename func(kind, name string) string) {
	const configMap, secret = "ConfigMap", "Secret"
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			for _, from := range list[i].EnvFrom {
				if from.ConfigMapRef != nil {
					from.ConfigMapRef.Name = rename(configMap, from.ConfigMapRef.Name)
				}
				if from.SecretRef != nil {
					from.SecretRef.Name = rename(secret, from.SecretRef.Name)
				}
			}
		}
	}
	for _, v := range s.Volumes {
		switch {
		case v.ConfigMap != nil:
			v.ConfigMap.Name = rename(configMap, v.ConfigMap.Name)
		case v.Secret != nil:
			v.Secret.SecretName = rename(secret, v.Secret.SecretName)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.ConfigMap != nil {
					source.ConfigMap.Name = rename(configMap, source.ConfigMap.Name)
				}
				if source.Secret != nil {
					source.Secret.Name = rename(secret, source.Secret.Name)
				}
			}
		}
	}
}

// Overrides are what `perch run` changes of a service for this once. Zero values change nothing.
type Overrides struct {
	Command     []string
	Entrypoint  *string // split into words as the Compose file's is; "" resets the image's
	Environment map[string]string
	User        string
	WorkingDir  string
	TTY         bool
}

// Overridden is the project with a service as it is to be run once. Values that come by -e are kept as Secrets, since
// nobody has said what they are.
func Overridden(p *compose.Project, service string, o Overrides) (*compose.Project, error) {
	inner, err := p.Project.WithServicesTransform(func(name string, s types.ServiceConfig) (types.ServiceConfig, error) {
		if name != service {
			return s, nil
		}
		return o.apply(s)
	})
	if err != nil {
		return nil, err
	}
	out := *p
	out.Project = inner
	if len(o.Environment) > 0 {
		out.Services = map[string]compose.ServiceExtension{}
		for name, e := range p.Services {
			out.Services[name] = e
		}
		extension := out.Services[service]
		extension.Secrets = append(slices.Clone(extension.Secrets), sortedKeys(o.Environment)...)
		out.Services[service] = extension
	}
	return &out, nil
}

func (o Overrides) apply(s types.ServiceConfig) (types.ServiceConfig, error) {
	if len(o.Command) > 0 {
		s.Command = o.Command
	}
	if o.Entrypoint != nil {
		var words types.ShellCommand
		if err := words.DecodeMapstructure(*o.Entrypoint); err != nil {
			return s, fmt.Errorf("entrypoint %q: %w", *o.Entrypoint, err)
		}
		s.Entrypoint = types.ShellCommand{}
		s.Entrypoint = append(s.Entrypoint, words...)
		s.Command = o.Command // the image's CMD is for the image's ENTRYPOINT
	}
	for name, value := range o.Environment {
		if s.Environment == nil {
			s.Environment = types.MappingWithEquals{}
		}
		s.Environment[name] = &value
	}
	s.User, s.WorkingDir = cmp.Or(o.User, s.User), cmp.Or(o.WorkingDir, s.WorkingDir)
	s.Tty, s.StdinOpen = o.TTY, true
	return s, nil
}
