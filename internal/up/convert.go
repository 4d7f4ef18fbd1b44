package up

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// loadProject reads the Compose file and keeps the services asked for, with what they depend on.
func loadProject(ctx context.Context, o Options) (*compose.Project, error) {
	project, err := compose.Load(ctx, o.Compose)
	if err != nil || len(o.Services)+len(o.Scale) == 0 {
		return project, err
	}
	named := append(slices.Sorted(maps.Keys(o.Scale)), o.Services...)
	if err := compose.CheckServices(project.Project, named); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Scale)) {
		if project.Services[name].Autoscale != nil {
			return nil, fault.New(fault.Usage, "change min and max of x-perch.autoscale; perch scale changes what runs",
				"--scale %s=%d: an autoscaler owns its number of pods", name, o.Scale[name])
		}
	}
	some := project.Project
	if len(o.Services) > 0 {
		if some, err = some.WithSelectedServices(o.Services); err != nil {
			return nil, err
		}
	}
	if some, err = scaled(some, o.Scale); err != nil {
		return nil, err
	}
	selected := *project
	selected.Project = some
	return &selected, nil
}

// scaled is the project with other numbers of replicas.
func scaled(p *types.Project, to map[string]int) (*types.Project, error) {
	if len(to) == 0 {
		return p, nil
	}
	return p.WithServicesTransform(func(name string, s types.ServiceConfig) (types.ServiceConfig, error) {
		if n, ok := to[name]; ok {
			s.SetScale(n)
		}
		return s, nil
	})
}

func namespaceOf(o Options, project *compose.Project) string {
	if o.Kube.Namespace != "" {
		return o.Kube.Namespace
	}
	return project.Namespace
}

func target(o Options, project *compose.Project) render.Target {
	return render.Target{
		Namespace: namespaceOf(o, project), Embedded: o.Compose.Embedded, LoadBalancer: o.Compose.Embedded, StorageClass: project.Target.StorageClass,
		Domain: project.Target.Domain, IngressClass: project.Target.IngressClass, Issuer: project.Target.Issuer, PullSecret: project.Target.PullSecret,
		Gateway: project.Target.Gateway, GatewayAPI: project.Target.Gateway != "", // its word counts until the cluster is asked: targetOn
	}
}

func store(o Options) image.Store {
	containerd, builder := o.Node.Store()
	return image.Store{Containerd: containerd, Builder: builder, Registries: o.Node.Registries()}
}

func imageOptions(o Options, project *compose.Project, keys []string) image.Options {
	return image.Options{
		Project: project.Project, Services: keys, Pull: o.Pull, AlwaysBuild: o.Build, NoBuild: o.NoBuild,
		Verbose: o.Verbose, Elsewhere: !o.Compose.Embedded, Registry: image.Registry{Prefix: o.registry(project), Platforms: o.chosenPlatforms(project)},
		Mirrors: o.Mirrors, Certificates: o.Certificates, LayerCache: o.LayerCache,
	}
}

// deployed are the keys of the images that the project runs with: those of its services and of jobs on a schedule. A job
// that is run by hand gets its image then.
func deployed(project *compose.Project) []string {
	keys := slices.DeleteFunc(project.ServiceNames(), project.Elsewhere)
	for _, name := range slices.Sorted(maps.Keys(project.Jobs)) {
		if triggers := project.Jobs[name].Triggers; triggers != nil && len(triggers.Schedule) > 0 {
			keys = append(keys, jobKey(name))
		}
	}
	return keys
}

// jobKey is how packages image and render call a job's image.
func jobKey(name string) string { return "job/" + name }

// imagesOf is what render must know of images.
func imagesOf(images map[string]image.Image) map[string]render.Image {
	out := make(map[string]render.Image, len(images))
	for key, i := range images {
		out[key] = imageOf(i)
	}
	return out
}

func imageOf(i image.Image) render.Image {
	if i.Unknown != "" {
		return render.Image{Ref: i.Ref}
	}
	out := render.Image{
		Ref: i.Ref, Config: &i.Config, Health: i.Health, UID: i.User.UID, GID: i.User.GID, Groups: i.User.Groups, Shell: i.Shell,
		Content: make(map[string]render.Content, len(i.Content)),
	}
	for path, c := range i.Content {
		out.Content[path] = render.Content(c)
	}
	return out
}

// security is what the namespace must let in for all that was rendered: services, and jobs that may be run by hand. What asks
// for more than the level baseline is told by its keys in the Compose file.
func security(rendered render.Output) (kube.Security, error) {
	var objects []runtime.Object
	for _, u := range rendered.Units {
		objects = append(objects, u.Objects...)
		for _, job := range u.Migrations {
			objects = append(objects, job)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rendered.Jobs)) {
		objects = append(objects, rendered.Jobs[name])
	}
	s, err := kube.SecurityOf(objects)
	if s.Privileged && len(rendered.Privileged) > 0 {
		s.Because = strings.Join(rendered.Privileged, ", ")
	}
	return s, err
}

// wanted is the project as package release takes it: each service's objects as a chart. client is nil when the cluster does not
// run.
func wanted(o Options, client *kube.Client, project *compose.Project, rendered render.Output, images map[string]image.Image) (release.Wanted, error) {
	w := release.Wanted{
		Project: project.Name, Namespace: namespaceOf(o, project), Volumes: rendered.Volumes,
		RemoveOrphans: o.RemoveOrphans, Recreate: o.ForceRecreate, Shared: o.shared,
	}
	var err error
	if w.Security, err = security(rendered); err != nil {
		return w, err
	}
	// Services that were not asked for, or whose profile is off, are no orphans.
	w.Known = slices.Concat(slices.Collect(maps.Keys(project.AllServices())), slices.Collect(maps.Keys(project.Jobs)))
	for _, u := range rendered.Units {
		unit := release.Unit{Service: u.Service, Release: u.Release, Objects: u.Objects}
		if u.Chart != nil {
			var s kube.Security
			if unit, s, err = o.foreign(client, project, u); err != nil {
				return w, err
			}
			w.Security = both(w.Security, s)
		} else if unit.Chart, err = chart.New(u.Release, tagOf(images[u.Service].Ref), u.Objects); err != nil {
			return w, err
		}
		unit.Config, unit.Migrations = u.Config, u.Migrations
		unit.TakeBack, unit.Once = o.TakeBack || u.OnFailure == "rollback", o.once[u.Service]
		unit.Guessed = images[u.Service].Built && images[u.Service].Unknown != ""
		for _, d := range u.DependsOn {
			unit.DependsOn = append(unit.DependsOn, release.Dependency(d))
		}
		w.Units = append(w.Units, unit)
	}
	return w, nil
}

// both is what a namespace must let in for two of its parts.
func both(a, b kube.Security) kube.Security {
	switch {
	case !b.Privileged:
		return a
	case !a.Privileged:
		return b
	}
	return kube.Security{Privileged: true, Because: a.Because + ", " + b.Because}
}

// tagOf is the version that an image's name tells, "" when it has none.
func tagOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[i+1:]
	}
	return ""
}

// built keeps the services that have something to build.
func built(services []string, project *compose.Project) []string {
	var out []string
	for _, name := range services {
		if project.Project.Services[name].Build != nil && !project.Elsewhere(name) {
			out = append(out, name)
		}
	}
	return out
}

func sortedKeys(images map[string]image.Image) []string { return slices.Sorted(maps.Keys(images)) }

// revisions are the Helm revisions of the project's services, and the number of the newest deploy.
func revisions(ctx context.Context, client *kube.Client, namespace string) (map[string]int, int, error) {
	list, err := release.List(ctx, client, namespace)
	if err != nil {
		return nil, 0, err
	}
	out, deploy := map[string]int{}, 0
	for _, one := range list {
		if one.Service != "" {
			out[one.Service] = one.Revision
			deploy = max(deploy, one.Deploy)
		}
	}
	return out, deploy, nil
}
