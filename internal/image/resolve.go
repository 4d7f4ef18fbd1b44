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
// A failed build is a *fault.Error of Kind Build with the last lines it printed; a store that does not answer is of
// Kind Unreachable. The first failure cancels the rest.
func Resolve(ctx context.Context, o Options, s Store, r progress.Reporter) (map[string]Image, error) {
	tasks, err := plan(o)
	if err != nil {
		return nil, err
	}
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

// task is one image: a build or a lookup. Its result is made once, by whoever waits first.
type task struct {
	id      string   // of its events: "image web"
	keys    []string // those of Resolve that get it
	name    string   // full name to look up; "" for a build
	policy  string
	recipe  *recipe
	aliases []string // other names the image gets
	parents []*task  // builds whose images this one uses
	wait    func() (*Image, error)
}

func (t *task) start(f func() (*Image, error)) { t.wait = sync.OnceValues(f) }

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

// plan groups what the whole project wants into tasks and keeps those that o asks for, with the builds they need. The
// whole project, so that a shared image has one name however few services are asked for.
func plan(o Options) ([]*task, error) {
	asked, err := wants(o)
	if err != nil {
		return nil, err
	}
	everything := o
	everything.Services = nil
	all, err := wants(everything)
	if err != nil {
		return nil, err
	}
	p := planner{project: o.Project, byIdentity: map[string]*task{}, byName: map[string]*task{}, byOwner: map[string]*task{}}
	for _, w := range all {
		isAsked := slices.ContainsFunc(asked, func(a want) bool { return a.key == w.key })
		if err := p.addBuild(w, isAsked); err != nil && isAsked {
			return nil, err
		}
	}
	for _, w := range asked {
		if w.build == nil {
			if err := p.addLookup(w); err != nil {
				return nil, err
			}
		}
	}
	return p.needed()
}

type planner struct {
	project    *types.Project
	tasks      []*task
	byIdentity map[string]*task // builds
	byName     map[string]*task // lookups by full name, and builds by the name the Compose file gives them
	byOwner    map[string]*task // builds by service
}

func (p *planner) addBuild(w want, asked bool) error {
	if w.build == nil {
		return nil
	}
	r, err := newRecipe(w, p.project)
	if err != nil {
		return err
	}
	id := r.identity()
	t := p.byIdentity[id]
	if t == nil {
		t = &task{id: "image " + r.owner, recipe: r, policy: w.policy}
		p.byIdentity[id] = t
		p.tasks = append(p.tasks, t)
	}
	if asked {
		t.keys = append(t.keys, w.key)
	}
	if r.alias != "" && !slices.Contains(t.aliases, r.alias) {
		t.aliases = append(t.aliases, r.alias)
	}
	if w.name != "" {
		full, err := normalize(w.name)
		if err != nil {
			return err
		}
		p.byName[full] = t
	}
	if !strings.Contains(w.key, "/") {
		p.byOwner[w.key] = t
	}
	return nil
}

// addLookup adds a name to look up, unless it is one that is built here.
func (p *planner) addLookup(w want) error {
	if w.name == "" {
		return fault.New(fault.ComposeFile, "give it one of the two", "service %q has neither image nor build", owner(w.key))
	}
	full, err := normalize(w.name)
	if err != nil {
		return err
	}
	t := p.byName[full]
	if t == nil {
		t = &task{id: "image " + strings.TrimPrefix(w.key, jobPrefix), name: full}
		p.byName[full] = t
		p.tasks = append(p.tasks, t)
	}
	t.keys = append(t.keys, w.key)
	if t.recipe == nil && (t.policy == "" || w.policy == types.PullPolicyAlways) {
		t.policy = w.policy
	}
	return nil
}

// needed is the tasks with keys and those that they build on, parents before children.
func (p *planner) needed() ([]*task, error) {
	var out []*task
	state := map[*task]int{} // 1: being visited, 2: in out
	var visit func(t *task) error
	visit = func(t *task) error {
		switch state[t] {
		case 1:
			return t.recipe.fault("remove one of the service: contexts", "its image is built from itself")
		case 2:
			return nil
		}
		state[t] = 1
		if t.recipe != nil {
			for _, c := range t.recipe.contexts {
				if c.owner == "" {
					continue
				}
				parent := p.byOwner[c.owner]
				if parent == nil {
					return t.recipe.fault("name a service that has build:", "additional context %q: service %q is not built here", c.name, c.owner)
				}
				if err := visit(parent); err != nil {
					return err
				}
				t.parents = append(t.parents, parent)
			}
		}
		state[t] = 2
		out = append(out, t)
		return nil
	}
	for _, t := range p.tasks {
		if len(t.keys) > 0 {
			if err := visit(t); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
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

// made is what the store has of one tag: the images of earlier builds, and the name the next one would get.
type made struct {
	images []madeImage // oldest first
	inputs string      // what the recipe at hand would say
	next   string
}

type madeImage struct {
	*Image
	inputs string // the plain settings it was made with
}

// inputsLabel is on the images we build; a tag that is a mere commit does not say which folder of it was built.
const inputsLabel = "perch.dev/inputs"

// current is the newest image that was made with these inputs.
func (m made) current() *Image {
	if n := len(m.images); n > 0 && m.images[n-1].inputs == m.inputs {
		return m.images[n-1].Image
	}
	return nil
}

// foreseen is the image that a build would give.
func (m made) foreseen() *Image {
	if i := m.current(); i != nil {
		return i
	}
	return &Image{Ref: m.next, Built: true}
}

func (m made) String() string { return fmt.Sprintf("%d images before %s", len(m.images), m.next) }
