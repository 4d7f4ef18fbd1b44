package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// Labels and annotations of everything that Perch makes.
const (
	labelName      = "app.kubernetes.io/name"     // in selectors
	labelInstance  = "app.kubernetes.io/instance" // in selectors
	labelPartOf    = "app.kubernetes.io/part-of"
	labelProject   = "perch.dev/project"   // on what stands outside every release
	labelComponent = "perch.dev/component" // config, migration, job or volume
	annotationName = "perch.dev/service"   // Compose's name
)

// Objects makes the Kubernetes objects of a project. The images have the keys "web" for a service, "web/pre_start/0" for
// a hook of it and "job/seed" for a job; one that is missing is named after the Compose file. The project is one that
// compose.Load returned, so it is not checked again; an error means that a value in it cannot be written in Kubernetes, or is
// compose.Problems of what can be told only with the target, the images and the objects: hosts and patches.
func Objects(p *compose.Project, images map[string]Image, t Target) (Output, error) {
	b := newBuilder(p, images, t)
	out := Output{Volumes: b.claims(), Jobs: map[string]*batchv1.Job{}, JobUse: map[string][]runtime.Object{}}
	for _, name := range sortedKeys(b.services) {
		if b.hostOf(name) != name {
			continue // a container in the pod of another
		}
		unitOf := b.unitOf
		if p.Elsewhere(name) {
			unitOf = b.elsewhere
		}
		unit, err := unitOf(name)
		if err != nil {
			return Output{}, fmt.Errorf("service %q: %w", name, err)
		}
		out.Units = append(out.Units, unit)
	}
	for _, name := range sortedKeys(p.Jobs) {
		if err := b.job(p.Jobs[name], &out); err != nil {
			return Output{}, fmt.Errorf("job %q: %w", name, err)
		}
	}
	if len(b.problems) > 0 {
		return Output{}, b.problems.Sorted()
	}
	slices.SortStableFunc(out.Units, func(a, b Unit) int { return cmp.Compare(a.Service, b.Service) })
	out.Notes = b.sortedNotes()
	slices.Sort(b.privileged)
	out.Privileged = slices.Compact(b.privileged)
	return out, nil
}

// builder holds what all objects of one project are made from.
type builder struct {
	project  *compose.Project
	images   map[string]Image
	target   Target
	services map[string]types.ServiceConfig // those of the project, with the volumes of volumes_from
	owners   map[string]map[string]string   // by service and path: whose anonymous volume is there
	policies bool                           // networks are kept apart by NetworkPolicies
	notes    []Note
	// privileged are the keys that ask for more than the level baseline of Pod Security.
	privileged []string
	problems   compose.Problems
	hosts      map[string]string // services by the host and path that they answer at
}

func newBuilder(p *compose.Project, images map[string]Image, t Target) *builder {
	b := &builder{project: p, images: images, target: t, hosts: map[string]string{}}
	b.expand()
	b.policies = b.isolates()
	return b
}

// problem is a complaint about a path of the Compose file.
func (b *builder) problem(message, hint string, path ...string) {
	b.problems = append(b.problems, b.project.Problem(fmt.Sprintf("service %q: x-perch: %s", path[1], message), hint, path...))
}

// workloadOf is a service with those that run in its pod.
func (b *builder) workloadOf(name string) workload {
	w := b.part(name)
	for _, other := range b.sidecarsOf(name) {
		part := b.part(other)
		there, names := w.allPorts(), map[string]bool{}
		for _, p := range there {
			names[p.name] = true
		}
		part.ports = slices.DeleteFunc(part.ports, func(p containerPort) bool { return hasPort(there, p) })
		for i := range part.ports {
			part.ports[i].name = freeName(part.ports[i], names)
			names[part.ports[i].name] = true
		}
		w.sidecars = append(w.sidecars, part)
	}
	return w
}

// part is one service by itself.
func (b *builder) part(name string) workload {
	s := b.services[name]
	w := workload{builder: b, service: s, extension: b.project.Services[name], name: compose.Name(name), image: b.image(name, s.ContainerSpec)}
	w.ports = w.servicePorts()
	w.speak()
	return w
}

func (b *builder) unitOf(name string) (Unit, error) { return b.unit(b.workloadOf(name)) }

// unit makes everything that one service becomes, with those in its pod.
func (b *builder) unit(w workload) (Unit, error) {
	unit := Unit{
		Service:   w.service.Name,
		Release:   b.project.Release(w.service.Name),
		DependsOn: b.dependencies(w.service.Name, w.dependsOn()...),
		Published: w.published(),
	}
	if d := w.service.Deploy; d != nil && d.UpdateConfig != nil {
		unit.OnFailure = d.UpdateConfig.FailureAction
	}
	main, err := w.pod()
	if err != nil {
		return Unit{}, err
	}
	config := main.config
	for _, part := range w.parts() {
		for i, hook := range part.service.PreStart {
			if hook.PerReplica {
				continue // an init container, made by pod
			}
			job, used, err := part.migration(i, hook)
			if err != nil {
				return Unit{}, fmt.Errorf("pre_start %d: %w", i, err)
			}
			unit.Migrations = append(unit.Migrations, job)
			config = append(config, used...)
		}
	}
	unit.Config = unique(config)
	ways, hosts := w.worldly()
	unit.Objects, unit.Hosts = append(w.objects(main), ways...), hosts
	sortObjects(unit.Objects)
	w.patchedUnit(&unit)
	return unit, nil
}

// dependencies are the services whose pods one waits for, without those that a profile left out and without its own. Of
// two that are in one pod, the stricter condition counts.
func (b *builder) dependencies(of string, lists ...types.DependsOnConfig) []Dependency {
	strict := []string{types.ServiceConditionStarted, types.ServiceConditionHealthy, types.ServiceConditionCompletedSuccessfully}
	found := map[string]Dependency{}
	for _, on := range lists {
		for _, name := range slices.Sorted(maps.Keys(on)) {
			host := b.hostOf(name)
			if !b.known(name) || host == of {
				continue
			}
			d := found[host]
			if slices.Index(strict, on[name].Condition) >= slices.Index(strict, d.Condition) {
				d.Condition = on[name].Condition
			}
			d.Service, d.Required, d.Restart = host, d.Required || on[name].Required, d.Restart || on[name].Restart
			found[host] = d
		}
	}
	var all []Dependency
	for _, name := range sortedKeys(found) {
		all = append(all, found[name])
	}
	return all
}

// image is the image of a container: what was resolved, else what the file says.
func (b *builder) image(key string, c types.ContainerSpec) Image {
	if image, ok := b.images[key]; ok {
		return image
	}
	if c.Image != "" {
		return Image{Ref: c.Image}
	}
	return Image{Ref: b.project.Name + "-" + compose.Name(key) + ":not-built"}
}

// labels are those of every object of a workload; the pod template has them too.
func (b *builder) labels(name string) map[string]string {
	selector := b.selector(name)
	selector[labelPartOf] = b.project.Name
	return selector
}

// selector never changes for the life of a service, or a rollout would orphan its pods. An instance is a project in its
// namespace, which is not the project's own when another one is asked for.
func (b *builder) selector(name string) map[string]string {
	return map[string]string{labelName: name, labelInstance: b.target.Namespace}
}

func (b *builder) meta(name, of string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:        name,
		Namespace:   b.target.Namespace,
		Labels:      b.labels(compose.Name(of)),
		Annotations: map[string]string{annotationName: of},
	}
}

// outside is the metadata of an object that belongs to no release.
func (b *builder) outside(name, of, component string) metav1.ObjectMeta {
	m := b.meta(name, of)
	m.Labels[labelProject] = b.target.Namespace
	m.Labels[labelComponent] = component
	return m
}

// unique is objects sorted, each once.
func unique(objects []runtime.Object) []runtime.Object {
	sortObjects(objects)
	return slices.CompactFunc(objects, func(a, b runtime.Object) bool { return key(a) == key(b) })
}

func sortObjects(objects []runtime.Object) {
	slices.SortStableFunc(objects, func(a, b runtime.Object) int { return cmp.Compare(key(a), key(b)) })
}

func key(o runtime.Object) string {
	name := ""
	if named, ok := o.(metav1.Object); ok {
		name = named.GetName()
	}
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + name
}
