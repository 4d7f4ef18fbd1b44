// Package up is the street: Compose file, images, objects, charts, releases, from top to bottom. It holds the stages
// together, so that none of them has to know another, and does no work of its own.
package up

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/proof"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// Options say what is to be brought up, and where.
type Options struct {
	Compose       compose.Options
	Services      []string      // with what they depend on; empty: all
	Node          node.Cluster  // the embedded node, which is started when it does not run
	Kube          kube.Options  // the cluster's kubeconfig and context; Namespace "" is the project's
	Mirrors       image.Mirrors // of registries that images come from
	Certificates  []string      // folders of authorities that registries are trusted by: of image.Options
	LayerCache    string        // folder for what was seen in images of registries
	Registry      string        // HOST[:PORT]/PATH that built images are pushed to, instead of the target's
	Platforms     []string      // that they are built for, as linux/arm64; none: those of the target, else of the cluster's nodes
	Build         bool          // build even what did not change
	NoBuild       bool
	Pull          bool
	ForceRecreate bool
	Scale         map[string]int // replicas by service, instead of the file's
	RemoveOrphans bool
	DryRun        bool
	Planned       []release.Step // do exactly these, or nothing; nil: whatever is needed
	Timeout       time.Duration  // for each service to become ready
	LockWait      time.Duration  // how long another run's deploy lock is waited for; 0: not at all
	HistoryMax    int            // how many revisions of each release are kept; 0: 10
	TakeBack      bool           // a service whose rollout fails returns to its deployed revision, whatever its failure_action
	NoProof       bool           // send no requests to services while they roll
	MaxFailures   *int           // how many of those requests may fail; nil: they are told only
	Verbose       bool           // every line that a build prints

	ChartCache string // folder for charts of others that were downloaded; "" is none

	charts map[string]chart.Chart // of services that are one, by service; see fetchCharts
	shared []runtime.Object       // Secrets that all services use
	once   map[string]string      // services that were seen to end, with the program that did
}

// Result is what Up did.
type Result struct {
	Project   string           `json:"project"`
	Namespace string           `json:"namespace"`
	Context   string           `json:"context"`
	Changed   bool             `json:"changed"`
	Plan      string           `json:"plan,omitempty"`  // of a dry run
	URLs      []string         `json:"urls"`            // sorted by service and port
	Revisions map[string]int   `json:"revisions"`       // by service
	Deploy    int              `json:"deploy"`          // the number of the newest deploy
	Proof     *proof.Result    `json:"proof,omitempty"` // of services that rolled; nil: none did, or none could be asked
	Warnings  compose.Problems `json:"warnings,omitempty"`
}

// Up brings the project to what its Compose file says. Warnings, and the proof of what was rolled, are in the
// result even when there is an error. One of kind fault.Proof comes when all is done.
func Up(ctx context.Context, o Options, r progress.Reporter) (Result, error) {
	if o.DryRun {
		p, err := MakePlan(ctx, o)
		return Result{
			Project: p.Project, Namespace: p.Namespace, Context: p.Context, Changed: p.Changes, Plan: p.String(), Warnings: p.Warnings,
		}, err
	}
	project, err := loadProject(ctx, o)
	if err != nil {
		return Result{}, err
	}
	s := &Session{options: o, project: project}
	result := s.result()
	return result, s.up(ctx, &result, r)
}

// prepare brings up the cluster and the images side by side: images are built while Kubernetes starts. A cluster that perch
// did not start is there.
func prepare(
	ctx context.Context, o Options, project *compose.Project, keys []string, r progress.Reporter,
) (*kube.Client, map[string]image.Image, error) {
	if !o.Compose.Embedded {
		client, err := kube.Load(o.Kube)
		if err != nil {
			return nil, nil, err
		}
		images, err := o.imagesFor(ctx, project, keys, r)
		return client, images, err
	}
	if err := o.Node.StartStore(ctx, r); err != nil {
		return nil, nil, err
	}
	var client *kube.Client
	var images map[string]image.Image
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		if err := o.Node.Start(ctx, r); err != nil {
			return err
		}
		client, err = kube.Load(o.Kube)
		return err
	})
	both.Go(func() (err error) {
		if len(keys) > 0 {
			images, err = image.Resolve(ctx, imageOptions(o, project, keys), store(o), r)
		}
		return err
	})
	return client, images, both.Wait()
}

// plan compares what should be with what is.
func plan(
	ctx context.Context, o Options, client *kube.Client, project *compose.Project, rendered render.Output, images map[string]image.Image,
) (release.Plan, error) {
	wanted, err := wanted(o, client, project, rendered, images)
	if err != nil {
		return release.Plan{}, err
	}
	if err := checkSecrets(ctx, client, project, wanted.Namespace); err != nil {
		return release.Plan{}, err
	}
	observed, err := release.Observe(ctx, client, project.Name, wanted.Namespace)
	if err != nil {
		return release.Plan{}, err
	}
	return release.Compare(wanted, observed)
}
