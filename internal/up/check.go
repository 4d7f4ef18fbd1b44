package up

import (
	"context"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fit"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// checkCluster sees that a cluster which perch did not start offers what the project needs, before an image is built for it
// and before anything is changed there. Images are taken as they will be, as far as that is known.
func (o *Options) checkCluster(ctx context.Context, project *compose.Project, r progress.Reporter) error {
	if o.Compose.Embedded {
		return nil
	}
	if err := o.checkRegistry(project, deployed(project)); err != nil {
		return err
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return err
	}
	if o.shared, err = o.pullSecret(ctx, client, project); err != nil {
		return err
	}
	on, err := targetOn(ctx, *o, client, project)
	if err != nil {
		return err
	}
	images, err := foresee(ctx, *o, project)
	if err != nil {
		return err
	}
	rendered, err := render.Objects(project, imagesOf(images), on)
	if err != nil {
		return err
	}
	return o.checkNeeds(ctx, client, project, rendered, images, r)
}

// checkNeeds is the same for objects that are known.
func (o Options) checkNeeds(
	ctx context.Context, client *kube.Client, project *compose.Project, rendered render.Output, images map[string]image.Image, r progress.Reporter,
) error {
	w, err := wanted(o, client, project, rendered, images)
	if err != nil {
		return err
	}
	platforms, err := o.platforms(ctx, client, project)
	if err != nil {
		return err
	}
	needs, err := fit.Of(fit.Wanted{
		Project: project.Name, Namespace: w.Namespace, Objects: allObjects(w, rendered), Platforms: platformsOf(images, project, platforms),
		Gateway: project.Target.Gateway, Issuer: project.Target.Issuer,
	})
	if err != nil {
		return err
	}
	return fit.Check(ctx, client, needs, r)
}

// allObjects are all that a deploy applies, and the jobs that may be run by hand with what they read.
func allObjects(w release.Wanted, rendered render.Output) []runtime.Object {
	all := slices.Concat(w.Volumes, w.Shared)
	for _, u := range w.Units {
		all = append(append(all, u.Config...), u.Objects...)
		for _, job := range u.Migrations {
			all = append(all, job)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rendered.Jobs)) {
		all = append(append(all, rendered.Jobs[name]), rendered.JobUse[name]...)
	}
	return all
}

// platformsOf are those that the images which are built here are built for, by the images' names.
func platformsOf(images map[string]image.Image, project *compose.Project, platforms []string) map[string][]string {
	of := map[string][]string{}
	for _, key := range sortedKeys(images) {
		if builds(project, key) {
			of[images[key].Ref] = platforms
		}
	}
	return of
}
