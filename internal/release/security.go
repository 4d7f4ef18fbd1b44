package release

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/kube"
)

// The IDs of steps that change what the namespace enforces: before all others, and after them.
const (
	letIn   = "security"
	tighten = "tighten"
)

// security lets the namespace take the pods that are wanted. It enforces the level baseline as long as nothing asks for more;
// a level that somebody else has set is left alone. What runs already needs a look only where nothing is enforced yet.
func (p *planner) security() error {
	o := p.observed
	p.admits = p.wanted.Security
	if !o.Exists || !o.SecurityIsOur {
		return nil
	}
	if !o.SecuritySet {
		running, err := securityOfAll(o.Releases)
		if err != nil {
			return err
		}
		if running.Privileged && !p.admits.Privileged {
			p.admits = kube.Security{Privileged: true, Because: "what runs (" + running.Because + ")"}
		}
	}
	cause := "no level was enforced"
	switch {
	case o.SecuritySet && (o.Security.Privileged || !p.admits.Privileged):
		p.admits = o.Security // it lets enough in
		return nil
	case p.admits.Privileged:
		cause = "asked for by " + p.admits.Because
	}
	p.secure(letIn, p.admits, nil, cause)
	p.base = append(p.base, letIn)
	return nil
}

// tightened brings the level baseline back when all is done and nothing of the project asks for more. Releases that are not of
// this plan may.
func (p *planner) tightened(orphans []string) {
	o := p.observed
	if !o.Exists || !o.SecurityIsOur || !o.Security.Privileged || p.wanted.Security.Privileged || len(orphans) > 0 {
		return
	}
	for _, in := range o.Releases {
		asked := slices.ContainsFunc(p.units, func(u *Unit) bool { return u.Service == in.Service })
		if !asked && slices.Contains(p.wanted.Known, in.Service) {
			return
		}
	}
	var after []string
	for _, s := range p.steps {
		if s.Kind != Unchanged {
			after = append(after, s.ID)
		}
	}
	p.secure(tighten, kube.Security{}, after, "nothing asks for more any more")
}

func (p *planner) secure(id string, s kube.Security, after []string, cause string) {
	p.add(Step{ID: id, Kind: Secure, Object: s.Level(), Cause: cause, After: after, security: s})
}

// securityOfAll is what the deployed revisions of releases need.
func securityOfAll(releases map[string]Installed) (kube.Security, error) {
	var all []runtime.Object
	for _, name := range slices.Sorted(maps.Keys(releases)) {
		objects, err := objectsIn(releases[name].Manifest)
		if err != nil {
			return kube.Security{}, fmt.Errorf("release %s: %w", name, err)
		}
		all = append(all, objects...)
	}
	return kube.SecurityOf(all)
}
