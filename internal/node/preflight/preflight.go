// Package preflight looks at this machine for what the node needs and for what may go wrong later, and names everything
// at once, each with what cures it. Looking changes nothing; a finding may carry repairs that are safe to make.
//
// Each check is two functions: one that reads the machine, and one that judges what was read and is pure.
package preflight

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
)

// State says how bad a finding is.
type State string

// The states of a finding.
const (
	OK      State = "ok"
	Warn    State = "warn"    // the node runs, but something may fail or is cut off
	Missing State = "missing" // the node cannot run so
)

// Finding is what one check found.
type Finding struct {
	Check   string   `json:"check"` // what was looked at, one word
	State   State    `json:"state"`
	What    string   `json:"what"`           // lower case, no full stop
	Cure    string   `json:"cure,omitempty"` // a command, or what to do
	Repairs []Repair `json:"-"`              // that cure it, and are safe: nothing of others is lost
}

// Repair is one thing that a program can do about a finding.
type Repair struct {
	Command string // that does the same
	Do      func(ctx context.Context) error
}

// Machine is what is known before anything is looked at.
type Machine struct {
	Dir        string    // the node's folder, which need not exist
	UID        int       // effective
	Environ    []string  // as os.Environ
	Now        time.Time //
	Kubeconfig string    // the file into which the context goes; "": none
	Online     bool      // registries may be asked
	Stubs      []settings.Stub
	Cluster    Cluster
}

// Cluster is what is known of the cluster that the machine is looked at for.
type Cluster struct {
	Name    string
	Running bool
	Plan    network.Plan // of its networks: as they are, or as a start would choose them
	PlanErr error        // why it would not find any
	APIPort int          // on 127.0.0.1; 0 when it has none yet
	Unbound []string     // ports that it cannot publish, each with the reason
}

// check is one look at the machine.
type check struct {
	name string
	run  func(ctx context.Context, m Machine) Finding
}

// Check is what a start looks at: only what is not in order is answered.
func Check(ctx context.Context, m Machine) []Finding {
	if m.UID != 0 {
		return []Finding{{Check: "rights", State: Missing, What: "the node needs root, to make namespaces and mounts", Cure: "run the command with sudo"}}
	}
	findings := run(ctx, m, []check{
		{"rights", checkRights}, {"nft", checkNFT}, {"namespaces", checkNamespaces}, {"cgroups", checkCgroups}, {"overlay", checkOverlay},
		{"folder", checkFolder}, {"disk", checkDisk}, {"path", checkPath}, {"inotify", checkInotify}, {"clock", checkClock}, {"firewall", checkFirewall},
	})
	return slices.DeleteFunc(findings, func(f Finding) bool { return f.State == OK })
}

// Doctor looks at everything, in the order in which it is told.
func Doctor(ctx context.Context, m Machine) []Finding {
	return run(ctx, m, []check{
		{"rights", checkRights}, {"namespaces", checkNamespaces}, {"cgroups", checkCgroups}, {"nft", checkNFT}, {"network", checkTrial},
		{"overlay", checkOverlay}, {"folder", checkFolder}, {"disk", checkDisk}, {"path", checkPath},
		{"inotify", checkInotify}, {"files", checkFiles}, {"pids", checkPIDs}, {"swap", checkSwap},
		{"forwarding", checkForwarding}, {"subnets", checkSubnets}, {"ipv6", checkIPv6}, {"ports", checkPorts}, {"firewall", checkFirewall},
		{"proxy", checkProxy}, {"resolvers", checkResolvers}, {"registry", checkRegistry},
		{"clock", checkClock}, {"security", checkSecurity}, {"init", checkInit}, {"wsl", checkWSL},
		{"kubeconfig", checkKubeconfig}, {"leftovers", checkLeftovers},
	})
}

// run runs the checks side by side, since some wait for an answer, and keeps their order.
func run(ctx context.Context, m Machine, checks []check) []Finding {
	findings := make([]Finding, len(checks))
	var all errgroup.Group
	for i, c := range checks {
		all.Go(func() error {
			findings[i] = c.run(ctx, m)
			findings[i].Check = c.name
			return nil
		})
	}
	_ = all.Wait()
	return findings
}

// Error joins what is missing into one failure, nil when nothing is.
func Error(findings []Finding) error {
	var what, hints []string
	for _, f := range findings {
		if f.State == Missing {
			what = append(what, f.What)
			if f.Cure != "" && !slices.Contains(hints, f.Cure) {
				hints = append(hints, f.Cure)
			}
		}
	}
	if len(what) == 0 {
		return nil
	}
	return fault.New(fault.Other, strings.Join(hints, "; "), "this machine cannot run the node: %s", strings.Join(what, "; "))
}

// ok, warn and missing make findings.
func ok(what string) Finding            { return Finding{State: OK, What: what} }
func warn(what, cure string) Finding    { return Finding{State: Warn, What: what, Cure: cure} }
func missing(what, cure string) Finding { return Finding{State: Missing, What: what, Cure: cure} }

// unknown is a finding about what could not be read.
func unknown(err error) Finding { return warn(err.Error(), "") }

// asRoot is what is said of what only root can see.
func asRoot() Finding { return ok("not looked at: only root can") }
