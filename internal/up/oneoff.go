package up

import (
	"context"
	"maps"
	"slices"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/render"
)

// OneOff says which service is run once, and how.
type OneOff struct {
	Options
	Service string
	NoDeps  bool // leave alone what it depends on
	render.Overrides
	Suffix  string      // makes the name of this run unique
	Streams kube.OneOff // what of it is the caller's: streams and the terminal
}

// RunOneOff brings up what a service depends on, runs the service once with its config beside those that are up, and
// returns its exit code. Nothing of the run is left. Its progress has the ID "run SERVICE".
func RunOneOff(ctx context.Context, o OneOff, r progress.Reporter) (exit int, err error) {
	project, err := loadProject(ctx, o.Options)
	if err != nil {
		return -1, err
	}
	if err := compose.CheckServices(project.Project, []string{o.Service}); err != nil {
		return -1, err
	}
	if deps := slices.Sorted(maps.Keys(project.Project.Services[o.Service].DependsOn)); len(deps) > 0 && !o.NoDeps {
		first := o.Options
		first.Services, first.Build, first.Pull = deps, false, false
		if _, err := Up(ctx, first, r); err != nil {
			return -1, err
		}
	}
	if project, err = render.Overridden(project, o.Service, o.Overrides); err != nil {
		return -1, fault.New(fault.Usage, "", "service %q: %w", o.Service, err)
	}
	client, images, err := prepareOneOff(ctx, o.Options, project, o.Service, r)
	if err != nil {
		return -1, err
	}
	one, err := render.MakeOneOff(project, imagesOf(images), target(o.Options, project), o.Service, o.Suffix)
	if err != nil {
		return -1, err
	}
	if err := kubeReady(ctx, client, namespaceOf(o.Options, project), render.Output{Volumes: one.Volumes}, "", one.Job); err != nil {
		return -1, err
	}
	run := o.Streams
	run.Job, run.Config, run.Gate, run.TTY = one.Job, one.Config, one.Shell, o.TTY
	return client.RunOnce(ctx, run, r, "run "+o.Service)
}

// prepareOneOff starts the cluster, which runs as a rule, and gets the image of the service with all that is to be known of
// it.
func prepareOneOff(
	ctx context.Context, o Options, project *compose.Project, service string, r progress.Reporter,
) (*kube.Client, map[string]image.Image, error) {
	if !o.Compose.Embedded {
		return prepare(ctx, o, project, []string{service}, r)
	}
	if err := o.Node.StartStore(ctx, r); err != nil {
		return nil, nil, err
	}
	if err := o.Node.Start(ctx, r); err != nil {
		return nil, nil, err
	}
	options := imageOptions(o, project, []string{service})
	options.Shell = true
	images, err := image.Resolve(ctx, options, store(o), r)
	if err != nil {
		return nil, nil, err
	}
	client, err := kube.Load(o.Kube)
	return client, images, err
}
