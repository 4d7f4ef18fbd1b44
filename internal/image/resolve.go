package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
// With DryRun nothing is made: what is not in s is looked up in its registry, for no longer than two seconds in all, and
// where that fails, or where the image is yet to be built, Image.Unknown says so.
//
// A user or group that an image does not have is a *fault.Error of Kind ComposeFile.
// A failed build is a *fault.Error of Kind Build with the last lines it printed; a store that does not answer is of
// Kind Unreachable. The first failure cancels the rest.
func Resolve(ctx context.Context, o Options, s Store, r progress.Reporter) (map[string]Image, error) {
	tasks, err := plan(o)
	if err != nil {
		return nil, err
	}
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil && s.Start == nil {
		return nil, err
	}
	if err != nil {
		cl = emptyClient()
	}
	defer cl.close()
	late := &client{}
	defer func() { late.close() }()
	rs := &resolver{options: o, store: cl, report: r, hub: newHub(o), builder: sync.OnceValues(func() (*buildkit.Client, error) {
		return s.builder(context.WithoutCancel(ctx)) // outlives the first task that asks for it
	})}
	defer rs.closeBuilder()
	rs.library = &library{store: cl, opened: map[string]opener{}}
	brief, stop := context.WithTimeout(ctx, o.patience())
	defer stop()
	rs.brief = brief
	rs.started = sync.OnceValues(func() (_ *client, err error) {
		late, err = rs.start(ctx, s)
		return late, err
	})
	if cl.Client != nil && !o.DryRun {
		if err := s.tellNode(o.Mirrors, o.Certificates); err != nil {
			return nil, err
		}
	}

	out, err := rs.runAll(ctx, tasks)
	if err != nil {
		return nil, err
	}
	return out, rs.look(ctx, out)
}

// start is the store when something is to be built in it.
func (rs *resolver) start(ctx context.Context, s Store) (*client, error) {
	if rs.store.Client != nil {
		return &client{rs.store.Client, rs.store.platform}, nil
	}
	if s.Start == nil {
		return emptyClient(), fault.New(fault.Unreachable, startHint, "a Dockerfile is built by the node's builder, and the node does not run")
	}
	if err := s.Start(ctx); err != nil {
		return emptyClient(), err
	}
	cl, err := s.dial()
	if err != nil {
		return emptyClient(), err
	}
	return cl, s.tellNode(rs.options.Mirrors, rs.options.Certificates)
}

// runAll makes all images side by side.
func (rs *resolver) runAll(ctx context.Context, tasks []*task) (map[string]Image, error) {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		t.start(func() ([]*Image, error) { return rs.run(ctx, t) })
		g.Go(func() error { _, err := t.wait(); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[string]Image{}
	for _, t := range tasks {
		images, _ := t.wait()
		for i, n := range t.names {
			for _, key := range n.keys {
				out[key] = *images[i]
			}
		}
	}
	return out, nil
}

// resolver is what the tasks of one Resolve share.
type resolver struct {
	options Options
	store   *client
	library *library
	started func() (*client, error) // the store, which is started when it does not answer yet
	hub     *hub
	brief   context.Context // ends when registries have been asked for long enough about what is not made here
	inNode  sync.Map        // names of images that this run built in the node, for a registry
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

// run makes t's images, one for each of its names, and reports how that went.
func (rs *resolver) run(ctx context.Context, t *task) ([]*Image, error) {
	out, err := rs.make(ctx, t)
	switch {
	case err != nil && (ctx.Err() != nil || errors.As(err, new(parentError))):
		return nil, err // another one failed, or the user ended it: this one has nothing to say
	case err != nil:
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Failed, Text: err.Error()})
		return nil, err
	}
	e := progress.Event{ID: t.id, Status: progress.Same, Text: familiar(out[0].Ref)}
	if slices.ContainsFunc(out, func(i *Image) bool { return i.Built }) {
		e.Status = progress.Done
	}
	rs.report.Report(e)
	return out, nil
}

func (rs *resolver) make(ctx context.Context, t *task) ([]*Image, error) {
	switch {
	case t.recipe != nil && rs.options.Registry.On():
		return rs.publish(ctx, t)
	case t.recipe != nil:
		return rs.build(ctx, t)
	case rs.options.Elsewhere:
		i, err := rs.named(ctx, t)
		return []*Image{i}, err
	}
	i, err := rs.fetch(ctx, t)
	return []*Image{i}, err
}

// fetch is the image of a name, pulled when the policy and the store say so.
func (rs *resolver) fetch(ctx context.Context, t *task) (*Image, error) {
	here, err := rs.store.lookup(ctx, t.names[0].name)
	if err != nil {
		return nil, err
	}
	if rs.options.DryRun && here == nil {
		i := &Image{Ref: t.names[0].name, Built: true}
		rs.ask(i)
		return i, nil
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
			"image %q is not in the node, and pull_policy is never", familiar(t.names[0].name))
	}
	if err := rs.pull(ctx, rs.store, t, t.names[0].name); err != nil {
		return nil, err
	}
	i, err := rs.store.lookup(ctx, t.names[0].name)
	if err != nil {
		return nil, err
	}
	i.Built = here == nil || here.Digest != i.Digest
	return i, nil
}

// parentError is the failure of a build that another one waited for, which was reported once already.
type parentError struct{ error }

func (e parentError) Unwrap() error { return e.error }

// build makes the image of t's recipe under each of its names, unless the store has it.
func (rs *resolver) build(ctx context.Context, t *task) ([]*Image, error) {
	above, err := t.parentImages()
	if err != nil {
		return nil, err
	}
	if t.recipe.missing != nil {
		return rs.placeholders(t)
	}
	parents := refsOf(above)
	tag, err := t.recipe.tagOf(ctx, parents)
	if err != nil {
		return nil, err
	}
	all := make([]made, len(t.names))
	for i, n := range t.names {
		if all[i], err = rs.store.made(ctx, n.name, tag, t.recipe.inputs()); err != nil {
			return nil, err
		}
	}
	if rs.options.DryRun {
		return foreseen(all), nil
	}
	forced := rs.options.AlwaysBuild || rs.options.NoCache || rs.options.Pull || t.policy == types.PullPolicyBuild
	if !forced {
		done, err := rs.store.complete(ctx, all)
		if err != nil {
			return nil, err
		}
		if done != nil {
			return done, rs.alias(ctx, t, done)
		}
	}
	if rs.options.NoBuild {
		return nil, t.recipe.fault("leave --no-build away", "its image %s is not in the node, and building is switched off", familiar(all[0].next))
	}
	var refs []string
	for _, m := range all {
		refs = append(refs, m.next)
	}
	rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "building"})
	base := ""
	if t.recipe.golang {
		err = rs.buildGo(ctx, t, refs)
	} else {
		base, err = rs.buildDockerfile(ctx, rs.store, t, refs, parents)
	}
	if err != nil {
		return nil, err
	}
	out := make([]*Image, len(all))
	for i, m := range all {
		if out[i], err = rs.store.keep(ctx, m, base); err != nil {
			return nil, err
		}
	}
	return out, rs.alias(ctx, t, out)
}

// placeholders are the images of a build whose files are not there: nothing tells what its tag would be.
func (rs *resolver) placeholders(t *task) ([]*Image, error) {
	var out []*Image
	for _, n := range t.names {
		repository := n.name
		if rs.options.Registry.On() {
			repo, err := rs.options.Registry.repository(n.name)
			if err != nil {
				return nil, err
			}
			repository = repo.Name()
		}
		ref, err := withTag(repository, notBuiltTag)
		if err != nil {
			return nil, err
		}
		why := strings.TrimPrefix(t.recipe.missing.Error(), fmt.Sprintf("service %q: ", t.recipe.owner))
		why = strings.ReplaceAll(why, t.recipe.project+"/", "") // the same wherever the project lies
		out = append(out, &Image{Ref: ref, Built: true, Unknown: notBuilt + ": " + why})
	}
	return out, nil
}

// alias gives t's images the names the Compose file has for them.
func (rs *resolver) alias(ctx context.Context, t *task, out []*Image) error {
	for i, n := range t.names {
		if n.alias == "" {
			continue
		}
		if err := rs.store.alias(ctx, out[i], n.alias); err != nil {
			return err
		}
	}
	for _, tag := range t.tags {
		if err := rs.store.alias(ctx, out[0], tag); err != nil {
			return err
		}
	}
	return nil
}

// parentImages waits for the builds that t builds on.
func (t *task) parentImages() ([]*Image, error) {
	var out []*Image
	for _, p := range t.parents {
		images, err := p.wait()
		if err != nil {
			return nil, parentError{err}
		}
		out = append(out, images[0])
	}
	return out, nil
}

func refsOf(images []*Image) []string {
	var refs []string
	for _, i := range images {
		refs = append(refs, i.Ref)
	}
	return refs
}
