package up

import (
	"context"
	"fmt"
	"strings"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/proof"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// prove executes while requests go to the published ports of the services that the plan rolls: from before the first change
// for a service, a migration included, until its old pods are gone. The result is nil when there was nothing to ask.
func prove(
	ctx context.Context, o Options, plan release.Plan, units []render.Unit, r progress.Reporter, execute func(progress.Reporter) error,
) (*proof.Result, error) {
	targets := provable(plan, units, o.Compose.Embedded)
	if o.NoProof || len(targets) == 0 {
		return nil, execute(r)
	}
	p := proof.Open(ctx, targets)
	err := execute(progress.Func(func(e progress.Event) {
		if service, ok := strings.CutPrefix(e.ID, "service "); ok {
			switch e.Status {
			case progress.Working:
				p.Begin(ctx, service)
			case progress.Done, progress.Failed:
				p.End(service)
			}
		}
		r.Report(e)
	}))
	return p.Close(), err
}

// provable is what to ask: a port of each service that is there already and rolls, the one that answers HTTP if any; on a
// cluster that perch did not start the service's first host, since its ports are not on this machine.
func provable(plan release.Plan, units []render.Unit, embedded bool) []proof.Target {
	rolls := map[string]bool{}
	for _, s := range plan.Steps {
		if s.Kind == release.Upgrade {
			rolls[s.Service] = true
		}
	}
	var targets []proof.Target
	for _, u := range units {
		t, ok := targetOf(u)
		if !embedded {
			if ok = len(u.Hosts) > 0; ok {
				t = proof.Target{Service: u.Service, URL: u.Hosts[0].URL, HTTP: true}
			}
		}
		if ok && rolls[u.Service] {
			targets = append(targets, t)
		}
	}
	return targets
}

func targetOf(u render.Unit) (best proof.Target, ok bool) {
	for _, p := range u.Published {
		t := proof.Target{Service: u.Service, Port: p.Published, Inside: p.Target, HTTP: p.HTTP}
		if p.Protocol == "TCP" && t.Provable() && (!ok || t.HTTP && !best.HTTP) {
			best, ok = t, true
		}
	}
	return best, ok
}

// tooMany is an error of kind fault.Proof when more requests failed than may.
func tooMany(r *proof.Result, limit *int) error {
	if r == nil || limit == nil || r.Failed <= *limit {
		return nil
	}
	var each []string
	for _, s := range r.Services {
		if s.Failed > 0 {
			each = append(each, fmt.Sprintf("service %s: %s", s.Service, s.Why()))
		}
	}
	return fault.New(fault.Proof, "the new version serves; see what made it lose requests: perch plan, perch logs",
		"requests failed during the rollout: %s, at most %d may: %s", r.Counts, *limit, strings.Join(each, "; "))
}
