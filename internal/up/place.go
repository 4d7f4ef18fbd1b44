package up

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// running tells whether the cluster can be asked. One that perch did not start is taken to be there: the first request says
// why it is not.
func (o Options) running(ctx context.Context) (bool, error) {
	if !o.Compose.Embedded {
		return true, nil
	}
	status, err := o.Node.Status(ctx)
	return status.Running, err
}

// needRunning refuses commands that make no sense without the cluster.
func (o Options) needRunning(ctx context.Context) error {
	running, err := o.running(ctx)
	if err != nil || running {
		return err
	}
	return fault.New(fault.Unreachable, "perch cluster start", "cluster %s does not run", o.Node.Name)
}

// registry is where built images go, "" for the node's own store.
func (o Options) registry(project *compose.Project) string {
	if o.Registry != "" || o.Compose.Embedded {
		return o.Registry
	}
	return project.Target.Registry
}

// checkRegistry refuses to build for a cluster that could not get at what is built.
func (o Options) checkRegistry(project *compose.Project, keys []string) error {
	if o.Compose.Embedded || o.registry(project) != "" {
		return nil
	}
	for _, key := range keys {
		if builds(project, key) {
			hint := "name one with --registry HOST/PATH, or as registry of a target under x-perch.targets"
			return fault.New(fault.Usage, hint, "%s is built here, and no registry is named that context %q could get it from", noun(key), o.Kube.Context)
		}
	}
	return nil
}

func noun(key string) string {
	if job, ok := strings.CutPrefix(key, jobKey("")); ok {
		return "job " + job
	}
	return "service " + key
}

// imagesFor makes the images of a cluster that perch did not start.
func (o Options) imagesFor(ctx context.Context, project *compose.Project, keys []string, r progress.Reporter) (map[string]image.Image, error) {
	if err := o.checkRegistry(project, keys); err != nil {
		return nil, err
	}
	options := imageOptions(o, project, keys)
	if len(keys) > 0 && !slices.ContainsFunc(keys, func(key string) bool { return builds(project, key) }) {
		return image.Resolve(ctx, options, image.Store{}, r)
	}
	options.Registry.Platforms = o.chosenPlatforms(project)
	return o.push(ctx, options, r)
}

// platforms are what images are built for: those asked for, else those of the cluster's nodes; none when nobody may know.
func (o Options) platforms(ctx context.Context, client *kube.Client, project *compose.Project) ([]string, error) {
	if chosen := o.chosenPlatforms(project); len(chosen) > 0 {
		return chosen, nil
	}
	return client.Platforms(ctx)
}

// chosenPlatforms are those that somebody named, by a flag or for the target.
func (o Options) chosenPlatforms(project *compose.Project) []string {
	if len(o.Platforms) > 0 {
		return o.Platforms
	}
	return project.Target.Platforms
}

// foreseenPlatforms are platforms for a plan. A cluster that does not answer at once is not waited for: whatever else asks it
// says why.
func (o Options) foreseenPlatforms(ctx context.Context, project *compose.Project) []string {
	if chosen := o.chosenPlatforms(project); o.Compose.Embedded || len(chosen) > 0 {
		return chosen
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, foreseeWithin)
	defer cancel()
	found, err := client.Platforms(ctx)
	if err != nil {
		return nil
	}
	return found
}

const foreseeWithin = 2 * time.Second
