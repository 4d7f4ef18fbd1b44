package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/pin"
)

// actsKey is the annotation of a command that says what it does to the app's cluster. The guard of a cluster that perch did
// not start goes by it (docs/decisions/0038).
const (
	actsKey    = "acts"
	actReads   = "reads"
	actChanges = "changes"
)

// reads says that commands look at the cluster, and change nothing there.
func reads(commands ...*cobra.Command) []*cobra.Command { return acting(actReads, commands) }

// changes says that commands change something in the cluster.
func changes(commands ...*cobra.Command) []*cobra.Command { return acting(actChanges, commands) }

func acting(how string, commands []*cobra.Command) []*cobra.Command {
	for _, c := range commands {
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations[actsKey] = how
	}
	return commands
}

// where is a cluster that a command is about to act on, and by which name it was meant.
type where struct {
	target  compose.Target // the zero value: none was chosen
	project string         // of the target
	context string
	client  *kube.Client
}

// guard is in front of every command that acts on a cluster which perch did not start: it says where that is, refuses a
// cluster other than the one that the name meant before, and has the name of a production target typed before a change.
func (a *app) guard(ctx context.Context, acts string) error {
	if acts == "" || a.contextName() == a.cluster().Context() {
		return nil
	}
	client, err := a.kube(a.globals.namespace)
	if err != nil {
		return err
	}
	w := where{target: a.target, project: a.targetOf, context: client.Context, client: client}
	return a.guardAt(ctx, w, acts == actChanges && !a.globals.dryRun)
}

func (a *app) guardAt(ctx context.Context, w where, changing bool) error {
	id, err := w.client.Identity(ctx)
	if err != nil {
		return err
	}
	seen := pin.Cluster(id)
	if want := w.target.Cluster; want != "" && seen.UID != "" && seen.UID != want {
		return fault.New(fault.WrongCluster, "look at the kubeconfig, or at x-perch.targets."+w.target.Name+".cluster",
			"context %q leads to cluster %s, and the target %s is the one with UID %s", w.context, seen, w.target.Name, want)
	}
	production, err := a.keepPins(w, seen)
	if err != nil {
		return err
	}
	a.sayWhere(w, seen)
	if changing && production != "" {
		return a.confirmName(ctx, production)
	}
	return nil
}

// pins is the file that remembers which cluster a name meant.
func (a *app) pins() pin.File {
	state := orElse(a.env.getenv("XDG_STATE_HOME"), filepath.Join(a.env.getenv("HOME"), ".local", "state"))
	return pin.File{Path: filepath.Join(a.absolute(state), "perch", "clusters.json")}
}

// keepPins compares the cluster with what its names meant before, and remembers them. It answers the name that is to be
// typed before a change, "" when there is none.
func (a *app) keepPins(w where, seen pin.Cluster) (production string, err error) {
	file := a.pins()
	pins, err := file.Read()
	if err != nil {
		return "", err
	}
	for _, p := range w.pins(seen) {
		keep, changed, err := pins.Check(p)
		if err != nil {
			return "", err
		}
		if !changed {
			continue
		}
		if _, known := pins.Find(p.Name); !known {
			a.note("%s is cluster %s from now on", p.Name, seen)
		}
		if err := file.Keep(keep); err != nil {
			return "", err
		}
		pins = pins.With(keep)
	}
	return pins.Production(seen), nil
}

// pins are the names by which the cluster is meant, the target's first: it pins the context too.
func (w where) pins(seen pin.Cluster) []pin.Pin {
	context := pin.Pin{Name: pin.ContextName(w.context), Cluster: seen}
	if w.target.Name == "" {
		return []pin.Pin{context}
	}
	target := pin.Pin{Name: pin.TargetName(w.project, w.target.Name), Cluster: seen}
	if w.target.Production {
		target.Production = w.target.Name
	}
	return []pin.Pin{target, context}
}

// sayWhere is the header of a command that acts elsewhere than on this machine.
func (a *app) sayWhere(w where, seen pin.Cluster) {
	text := fmt.Sprintf("context %s, cluster %s", w.context, seen.Server)
	if namespace := orElse(a.globals.namespace, w.target.Namespace); namespace != "" {
		text += ", namespace " + namespace
	}
	if w.target.Name != "" {
		text = "target " + w.target.Name + ": " + text
	}
	a.note("%s", text)
}

// confirmName has the name of a production target typed, or given by --confirm. A yes is not enough.
func (a *app) confirmName(ctx context.Context, name string) error {
	given := a.globals.confirm
	if given == "" && a.canAsk() {
		var err error
		if given, err = a.ask(ctx, fmt.Sprintf("this changes production. Type its name (%s) to go on: ", name)); err != nil {
			return err
		}
	}
	switch strings.TrimSpace(given) {
	case name:
		return nil
	case "":
		return fault.New(fault.Usage, "add --confirm="+name+" when that is what you want", "target %s is production: not changed without its name", name)
	}
	return fault.New(fault.Usage, "add --confirm="+name+" when that is what you want", "target %s is production, and %q is not its name: nothing was changed", name, given)
}
