package image

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/fault"
)

// task is one build or one lookup. Its result is made once, by whoever waits first.
type task struct {
	id      string   // of its events: "image web"
	names   []naming // what it gives; a lookup has one
	policy  string
	recipe  *recipe  // nil: a lookup
	tags    []string // further full names of what is built
	parents []*task  // builds whose images this one uses
	wait    func() ([]*Image, error)
}

// naming is one name that a task's image gets. Services that share a build have one each, so that the name does not
// depend on which services are asked for.
type naming struct {
	name  string   // a repository to build into, or a full name to look up
	alias string   // the tagged name the Compose file gives to the build; "": none
	keys  []string // those of Resolve that get it
}

func (t *task) start(f func() ([]*Image, error)) { t.wait = sync.OnceValues(f) }

// wanted is true when somebody asked for one of its names.
func (t *task) wanted() bool {
	return slices.ContainsFunc(t.names, func(n naming) bool { return len(n.keys) > 0 })
}

// give adds key to the name, which is added when it is new.
func (t *task) give(n naming, key ...string) {
	i := slices.IndexFunc(t.names, func(have naming) bool { return have.name == n.name && have.alias == n.alias })
	if i < 0 {
		i = len(t.names)
		t.names = append(t.names, n)
	}
	t.names[i].keys = append(t.names[i].keys, key...)
}

// addTags adds build.tags of r, which is one of those that t builds.
func (t *task) addTags(r *recipe) error {
	for _, tag := range r.config.Tags {
		full, err := normalize(tag)
		if err != nil {
			return err
		}
		if !slices.Contains(t.tags, full) {
			t.tags = append(t.tags, full)
		}
	}
	return nil
}

// plan groups what o asks for into tasks, with the builds those need. It looks at the whole project, for an image that
// is only named may be one that another service builds.
func plan(o Options) ([]*task, error) {
	asked, err := wants(o.Project, o.Services)
	if err != nil {
		return nil, err
	}
	p := planner{project: o.Project, dry: o.DryRun, to: o.Registry, byIdentity: map[string]*task{}, byName: map[string]*task{}, byOwner: map[string]*task{}}
	for _, w := range asked {
		if w.build != nil {
			if err := p.addBuild(w, w.key); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range all(o.Project) {
		if w.build != nil {
			_ = p.addBuild(w) // what is wrong with it matters only to those who need it
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
	dry        bool
	to         Registry
	tasks      []*task
	byIdentity map[string]*task // builds
	byName     map[string]*task // lookups by full name, and builds by the name the Compose file gives them
	byOwner    map[string]*task // builds by service
}

// addBuild adds w's build. Without a key it is only known, in case that another one needs it.
func (p *planner) addBuild(w want, key ...string) error {
	r, err := newRecipe(w, p.project, p.to)
	if err != nil && (!p.dry || !errors.As(err, new(missingError))) {
		return err
	}
	id := r.identity()
	t := p.byIdentity[id]
	if t == nil {
		t = &task{id: "image " + r.owner, recipe: r, policy: w.policy}
		p.byIdentity[id] = t
		p.tasks = append(p.tasks, t)
	}
	if err := t.addTags(r); err != nil {
		return err
	}
	if len(key) > 0 || len(t.names) == 0 {
		t.give(naming{name: r.repository, alias: r.alias}, key...)
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
	if t != nil && t.recipe != nil {
		repository, alias := splitName(full)
		t.give(naming{name: repository, alias: alias}, w.key)
		return nil
	}
	if t == nil {
		t = &task{id: "image " + strings.TrimPrefix(w.key, jobPrefix)}
		p.byName[full] = t
		p.tasks = append(p.tasks, t)
	}
	t.give(naming{name: full}, w.key)
	if t.policy == "" || w.policy == types.PullPolicyAlways {
		t.policy = w.policy
	}
	return nil
}

// needed is the wanted tasks and those that they build on, parents before children.
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
		if t.wanted() {
			if err := visit(t); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
