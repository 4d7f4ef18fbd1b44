package image

import (
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/fault"
)

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
