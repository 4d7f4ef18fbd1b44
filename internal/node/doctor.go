package node

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/perch-k8s/perch/internal/node/preflight"
	"github.com/perch-k8s/perch/internal/node/supervisor"
)

// Doctor looks at this machine, and at what it has of the cluster, which need not exist. online lets it ask registries.
func (c Cluster) Doctor(ctx context.Context, online bool) ([]preflight.Finding, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	m := c.machine()
	m.Online, m.Cluster = online, c.known(ctx)
	if chosen, err := c.chosen(); err == nil {
		m.Stubs = chosen.DNSStubs
	}
	return append(preflight.Doctor(ctx, m), c.health(ctx, m.UID)), nil
}

// machine is what a look at the machine begins with.
func (c Cluster) machine() preflight.Machine {
	return preflight.Machine{
		Dir: c.Dir, UID: os.Geteuid(), Environ: c.Environ, Now: time.Now(), Kubeconfig: c.Kubeconfig, Cluster: preflight.Cluster{Name: c.Name},
	}
}

// known is the cluster as it is, or as a start would make it.
func (c Cluster) known(ctx context.Context) preflight.Cluster {
	k := preflight.Cluster{Name: c.Name}
	state, err := supervisor.ReadState(c.layout())
	if err == nil {
		k.Plan, k.APIPort = state.Network, state.APIPort
	}
	if status, err := c.Status(ctx); err == nil && status.Running {
		k.Running, k.APIPort = true, status.APIPort
		for _, p := range status.Published {
			if p.Error != "" {
				k.Unbound = append(k.Unbound, fmt.Sprintf("%d/%s of service %s in %s (%s)", p.Port, strings.ToLower(p.Protocol), p.Service, p.Namespace, p.Error))
			}
		}
	}
	if k.Running || os.IsPermission(err) {
		return k
	}
	k.Plan, k.PlanErr = c.nextPlan()
	return k
}

// health is what the node itself says of its parts.
func (c Cluster) health(ctx context.Context, uid int) preflight.Finding {
	f := preflight.Finding{Check: "cluster", State: preflight.OK}
	status, err := c.Status(ctx)
	switch {
	case os.IsPermission(err) || err != nil && uid != 0:
		f.What = "not asked: only root can"
		return f
	case err != nil:
		f.State, f.What = preflight.Warn, err.Error()
		return f
	case !status.Running:
		f.What = fmt.Sprintf("cluster %q does not run", c.Name)
		return f
	}
	var ill []string
	for _, part := range status.Components {
		if part.Error != "" {
			ill = append(ill, part.Name+": "+part.Error)
		}
	}
	f.What = fmt.Sprintf("cluster %q is %s", c.Name, status.State)
	if len(ill) > 0 {
		f.State, f.What, f.Cure = preflight.Warn, strings.Join(ill, "; "), "look into "+c.layout().Logs()
	}
	return f
}

// Repair makes the repairs of the findings that have some. told gets each command and what came of it.
func Repair(ctx context.Context, findings []preflight.Finding, told func(command string, err error)) {
	for _, f := range findings {
		for _, r := range f.Repairs {
			told(r.Command, r.Do(ctx))
		}
	}
}
