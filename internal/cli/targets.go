package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/pin"
	"github.com/perch-k8s/perch/internal/ui"
)

func newTargetCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "target",
		Short:   "List the clusters that the app can be deployed to, or pin one",
		Example: "perch target ls\nperch target pin --target prod",
	},
		newTargetLs(a), newTargetPin(a))
}

// listedTarget is one of x-perch.targets as `perch target ls` prints it.
type listedTarget struct {
	Name       string `json:"name"`
	Context    string `json:"context"`
	Namespace  string `json:"namespace"`
	Registry   string `json:"registry,omitempty"`
	Production bool   `json:"production"`
	Cluster    string `json:"cluster,omitempty"` // UID that it is pinned to, or the URL when the UID is not known
}

func newTargetLs(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "ls",
		Aliases:     []string{"list"},
		Short:       "List x-perch.targets of the Compose file",
		Example:     "perch target ls",
		Args:        cobra.NoArgs,
		Annotations: exits("2 usage, 11 Compose file"),
	}, func(ctx context.Context, _ []string) error {
		project, err := a.projectNames(ctx)
		if err != nil {
			return err
		}
		pins, err := a.pins().Read()
		if err != nil {
			return err
		}
		targets := listTargets(project, pins)
		r := ui.Result{
			Header: []string{"NAME", "CONTEXT", "NAMESPACE", "REGISTRY", "PRODUCTION", "CLUSTER"}, Value: targets,
			Empty: "no targets; x-perch.targets of the Compose file has them",
		}
		for _, t := range targets {
			r.Names = append(r.Names, t.Name)
			r.Rows = append(r.Rows, []string{t.Name, t.Context, t.Namespace, t.Registry, yesNo(t.Production), orElse(t.Cluster, "not used yet")})
		}
		return a.result(r)
	})
}

func listTargets(project *compose.Project, pins pin.Pins) []listedTarget {
	all := []listedTarget{}
	for _, name := range slices.Sorted(maps.Keys(project.Targets)) {
		t := project.Targets[name]
		one := listedTarget{
			Name: name, Context: t.Context, Namespace: orElse(t.Namespace, project.Namespace), Registry: t.Registry,
			Production: t.Production, Cluster: t.Cluster,
		}
		if p, ok := pins.Find(pin.TargetName(project.Name, name)); ok && one.Cluster == "" {
			one.Cluster = orElse(p.UID, p.Server)
		}
		all = append(all, one)
	}
	return all
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func newTargetPin(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "pin",
		Short:       "Take the cluster that --target or --context leads to now for the right one; asks first",
		Example:     "perch target pin --target prod\nperch target pin --context far --yes",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 2 usage, 15 no cluster"),
	}, func(ctx context.Context, _ []string) error { return a.pinTarget(ctx) })
}

func (a *app) pinTarget(ctx context.Context) error {
	if a.globals.context == "" {
		return fault.New(fault.Usage, "add --target NAME or --context NAME", "no cluster is named")
	}
	client, err := a.kube(a.globals.namespace)
	if err != nil {
		return err
	}
	id, err := client.Identity(ctx)
	if err != nil {
		return err
	}
	file := a.pins()
	pins, err := file.Read()
	if err != nil {
		return err
	}
	w := where{target: a.target, project: a.targetOf, context: client.Context, client: client}
	for _, p := range w.pins(pin.Cluster(id)) {
		if a.globals.dryRun {
			a.say("would pin %s to cluster %s", p.Name, p.Cluster)
			continue
		}
		if before, known := pins.Find(p.Name); known && !before.Same(p.Cluster) {
			if err := a.confirm(ctx, fmt.Sprintf("%s was cluster %s, and will be cluster %s", p.Name, before.Cluster, p.Cluster)); err != nil {
				return err
			}
		}
		if err := file.Keep(p); err != nil {
			return err
		}
		a.note("%s is cluster %s from now on", p.Name, p.Cluster)
	}
	return nil
}
