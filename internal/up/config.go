package up

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// Config is what the Compose file becomes, without a cluster. Images that were not built yet have the name that they
// would get; what only an image itself tells (EXPOSE) is known when the node runs and has it.
func Config(ctx context.Context, o Options) (*compose.Project, render.Output, error) {
	project, err := loadProject(ctx, o)
	if err != nil {
		return nil, render.Output{}, err
	}
	images, err := foresee(ctx, o, project)
	if err != nil {
		return nil, render.Output{}, err
	}
	rendered, err := render.Objects(project, imagesOf(images), target(o, project))
	return project, rendered, err
}

// Applicable is all objects of an output in an order in which they can be applied: the namespace, then what others need.
func Applicable(o Options, project *compose.Project, rendered render.Output) ([]runtime.Object, error) {
	s, err := security(rendered)
	if err != nil {
		return nil, err
	}
	objects := slices.Concat([]runtime.Object{kube.ProjectNamespace(namespaceOf(o, project), s)}, rendered.Volumes)
	for _, u := range rendered.Units {
		objects = append(objects, u.Config...)
	}
	for _, u := range rendered.Units {
		for _, job := range u.Migrations {
			objects = append(objects, job)
		}
		objects = append(objects, u.Objects...)
	}
	return objects, nil
}

// foresee names the images that Up would use. Nothing is built or pulled.
func foresee(ctx context.Context, o Options, project *compose.Project) (map[string]image.Image, error) {
	return foreseen(ctx, o, project, imageOptions(o, project, deployed(project)))
}

func foreseen(ctx context.Context, o Options, project *compose.Project, options image.Options) (map[string]image.Image, error) {
	options.DryRun = true
	if options.Registry.On() {
		options.Registry.Platforms = o.foreseenPlatforms(ctx, project)
	}
	if len(options.Services) == 0 {
		return map[string]image.Image{}, nil
	}
	s := image.Store{}
	if status, err := o.Node.Status(ctx); err == nil && status.Running {
		s = store(o)
	}
	return image.Resolve(ctx, options, s, progress.Discard)
}

// planDry compares without changing anything. An embedded cluster that does not run is taken for an empty one.
func planDry(
	ctx context.Context, o Options, project *compose.Project, rendered render.Output, images map[string]image.Image, r progress.Reporter,
) (release.Plan, error) {
	running, err := o.running(ctx)
	if err != nil {
		return release.Plan{}, err
	}
	if !running {
		w, err := wanted(o, nil, project, rendered, images)
		if err != nil {
			return release.Plan{}, err
		}
		return release.Compare(w, release.Observed{})
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return release.Plan{}, err
	}
	if o.Compose.Embedded {
		return plan(ctx, o, client, project, rendered, images)
	}
	if err := o.checkRegistry(project, deployed(project)); err != nil {
		return release.Plan{}, err
	}
	if o.shared, err = o.pullSecret(ctx, client, project); err != nil {
		return release.Plan{}, err
	}
	if err := o.checkNeeds(ctx, client, project, rendered, images, r); err != nil {
		return release.Plan{}, err
	}
	return plan(ctx, o, client, project, rendered, images)
}
