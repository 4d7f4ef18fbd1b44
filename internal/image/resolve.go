package image

import (
	"context"
	"errors"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
	buildkit "github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// Resolve sees to it that every image o asks for is in s, and says which it is: what has build: is built, unless an
// image of the same input is there; the rest is looked up, and pulled when it is missing. Builds and pulls go side by
// side, equal ones once. The keys are "web" for a service, "web/pre_start/0" for its hooks and "job/seed" for a job.
//
// A failed build is a *fault.Error of Kind Build with the last lines it printed; a store that does not answer is of
// Kind Unreachable. The first failure cancels the rest.
func Resolve(ctx context.Context, o Options, s Store, r progress.Reporter) (map[string]Image, error) {
	tasks, err := plan(o)
	if err != nil {
		return nil, err
	}
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer cl.close()
	rs := &resolver{options: o, store: cl, report: r, builder: sync.OnceValues(func() (*buildkit.Client, error) {
		return s.builder(context.WithoutCancel(ctx)) // outlives the first task that asks for it
	})}
	defer rs.closeBuilder()

	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		t.start(func() (*Image, error) { return rs.run(ctx, t) })
		g.Go(func() error { _, err := t.wait(); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[string]Image{}
	for _, t := range tasks {
		i, _ := t.wait()
		for _, key := range t.keys {
			out[key] = *i
		}
	}
	return out, nil
}

// resolver is what the tasks of one Resolve share.
type resolver struct {
	options Options
	store   *client
	report  progress.Reporter
	builder func() (*buildkit.Client, error)
	mu      sync.Mutex
	opened  *buildkit.Client
}

func (rs *resolver) openBuilder() (*buildkit.Client, error) {
	b, err := rs.builder()
	if err != nil {
		return nil, err
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.opened = b
	return b, nil
}

func (rs *resolver) closeBuilder() {
	if rs.opened != nil {
		_ = rs.opened.Close() // nothing is waited for any more
	}
}

// run makes t's image and reports how that went.
func (rs *resolver) run(ctx context.Context, t *task) (*Image, error) {
	var i *Image
	var err error
	if t.recipe != nil {
		i, err = rs.build(ctx, t)
	} else {
		i, err = rs.fetch(ctx, t)
	}
	switch {
	case err != nil && (ctx.Err() != nil || errors.As(err, new(parentError))):
		return nil, err // another one failed, or the user ended it: this one has nothing to say
	case err != nil:
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Failed, Text: err.Error()})
		return nil, err
	case i.Built:
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Done, Text: familiar(i.Ref)})
	default:
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Same, Text: familiar(i.Ref)})
	}
	return i, nil
}

// fetch is the image of a name, pulled when the policy and the store say so.
func (rs *resolver) fetch(ctx context.Context, t *task) (*Image, error) {
	here, err := rs.store.lookup(ctx, t.name)
	if err != nil {
		return nil, err
	}
	if rs.options.DryRun && here == nil {
		return &Image{Ref: t.name, Built: true}, nil
	}
	if rs.options.DryRun {
		return here, nil
	}
	always := rs.options.Pull || t.policy == types.PullPolicyAlways
	if here != nil && !always {
		return here, nil
	}
	if t.policy == types.PullPolicyNever {
		if here != nil {
			return here, nil
		}
		return nil, fault.New(fault.Build, "load it with `perch image load FILE`, or set another pull_policy",
			"image %q is not in the node, and pull_policy is never", familiar(t.name))
	}
	i, err := rs.pull(ctx, t)
	if err != nil {
		return nil, err
	}
	i.Built = here == nil || here.Digest != i.Digest
	return i, nil
}

// parentError is the failure of a build that another one waited for, which was reported once already.
type parentError struct{ error }

func (e parentError) Unwrap() error { return e.error }

// build makes the image of t's recipe, unless the store has it.
func (rs *resolver) build(ctx context.Context, t *task) (*Image, error) {
	var parents []string
	for _, p := range t.parents {
		i, err := p.wait()
		if err != nil {
			return nil, parentError{err}
		}
		parents = append(parents, i.Ref)
	}
	tag, err := t.recipe.tagOf(ctx, parents)
	if err != nil {
		return nil, err
	}
	made, err := rs.store.made(ctx, t.recipe, tag)
	if err != nil {
		return nil, err
	}
	if rs.options.DryRun {
		return made.foreseen(), nil
	}
	forced := rs.options.AlwaysBuild || rs.options.NoCache || rs.options.Pull || t.policy == types.PullPolicyBuild
	if i := made.current(); i != nil && !forced {
		return i, rs.store.alias(ctx, i, t.aliases)
	}
	if rs.options.NoBuild {
		return nil, t.recipe.fault("leave --no-build away", "its image %s is not in the node, and building is switched off", familiar(made.next))
	}
	rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "building"})
	if t.recipe.golang {
		err = rs.buildGo(ctx, t, made.next)
	} else {
		err = rs.buildDockerfile(ctx, t, made.next, parents)
	}
	if err != nil {
		return nil, err
	}
	i, err := rs.store.keep(ctx, t.recipe, made)
	if err != nil {
		return nil, err
	}
	return i, rs.store.alias(ctx, i, t.aliases)
}
