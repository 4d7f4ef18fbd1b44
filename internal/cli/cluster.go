package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/node/settings"
	"github.com/perch-k8s/perch/internal/ui"
)

func newClusterCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "cluster",
		Short:   "Start, stop, look at or delete the Kubernetes on this machine",
		Example: "perch cluster start\nperch cluster status",
	},
		newClusterStart(a), newClusterStop(a), newClusterStatus(a), newClusterDelete(a), newClusterKubeconfig(a))
}

func newClusterStart(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:         "start [NAME]",
		Short:       "Start the cluster, or do nothing when it runs",
		Example:     "perch cluster start\nperch cluster start --subnet 172.30.240.0/24 --disk-budget 20GB  # kept for the next starts",
		Args:        cobra.MaximumNArgs(1),
		Annotations: exits("1 failed, 2 usage, 16 locked"),
	}
	var chosen settings.Settings
	flags := c.Flags()
	flags.Var((*prefix)(&chosen.Subnet), "subnet", "`network` that the node takes four addresses of; without it, one that is free")
	flags.Var((*prefix)(&chosen.PodCIDR), "pod-cidr", "`network` of the pods, for a new cluster; without it, one that the machine has no way to")
	flags.Var((*prefix)(&chosen.ServiceCIDR), "service-cidr", "`network` of the Services, for a new cluster; without it, as for pods")
	flags.Var((*stubs)(&chosen.DNSStubs), "dns-stub", "DNS server for a domain, as corp.example=10.1.2.3; may be repeated; none ends all")
	flags.Var((*size)(&chosen.DiskBudget), "disk-budget", "`size` of images and build cache together, as 20GB; without it, a quarter of the disk")
	return a.command(c, func(ctx context.Context, args []string) error {
		cluster := a.cluster(args...)
		cluster.Settings = chosen
		if a.globals.dryRun {
			if err := cluster.Check(); err != nil {
				return err
			}
			a.say("would start cluster %s in %s", cluster.Name, cluster.Dir)
			return nil
		}
		if err := cluster.Start(ctx, a.progress()); err != nil {
			return err
		}
		a.closeProgress()
		a.note("cluster %s runs, context %s, %s", cluster.Name, cluster.Context(), a.took())
		a.note("next: perch up, or perch kubectl get nodes")
		return nil
	})
}

func newClusterStop(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "stop [NAME]",
		Short:   "Stop the cluster; apps and data are there again after a start",
		Example: "perch cluster stop",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, args []string) error {
		cluster := a.cluster(args...)
		if a.globals.dryRun {
			a.say("would stop cluster %s", cluster.Name)
			return nil
		}
		return cluster.Stop(ctx, a.progress())
	})
}

func newClusterDelete(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "delete [NAME]",
		Short:   "Delete the cluster with its apps, images and data; asks first",
		Example: "perch cluster delete --yes",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, args []string) error {
		cluster := a.cluster(args...)
		what := fmt.Sprintf("delete cluster %s: all apps, images and volumes in %s", cluster.Name, cluster.Dir)
		if a.globals.dryRun {
			a.say("would %s", what)
			return nil
		}
		if err := a.confirm(ctx, what); err != nil {
			return err
		}
		return cluster.Delete(ctx, a.progress())
	})
}

func newClusterStatus(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "status [NAME]",
		Short:       "Show whether the cluster runs, and each part of it",
		Example:     "perch cluster status -o json",
		Args:        cobra.MaximumNArgs(1),
		Annotations: exits("15 not running"),
	}, func(ctx context.Context, args []string) error {
		return a.clusterStatus(ctx, a.cluster(args...))
	})
}

func (a *app) clusterStatus(ctx context.Context, cluster node.Cluster) error {
	status, err := cluster.Status(ctx)
	if err != nil {
		return err
	}
	result := ui.Result{Header: []string{"COMPONENT", "STATE", "PID", "RESTARTS", "SINCE"}, Value: status}
	for _, c := range status.Components {
		result.Names = append(result.Names, c.Name)
		result.Rows = append(result.Rows, []string{c.Name, string(c.State), strconv.Itoa(c.PID), strconv.Itoa(c.Restarts),
			ui.Age(a.env.Now().Sub(c.Since))})
	}
	if status.Running && a.globals.forPeople() {
		a.say("cluster %s is %s: Kubernetes %s at https://127.0.0.1:%d, context %s, for %s, in %s", cluster.Name, status.State,
			builtVersions("").Kubernetes, status.APIPort, cluster.Context(), ui.Age(a.env.Now().Sub(status.Started)), cluster.Dir)
		for _, p := range status.Published {
			a.say("port %d/%s: service %s of namespace %s%s", p.Port, strings.ToLower(p.Protocol), p.Service, p.Namespace, prefixed(": ", p.Error))
		}
		for _, c := range status.Components {
			if why, _, _ := strings.Cut(c.Error, "\n"); why != "" {
				a.say("%s is %s: %s", c.Name, c.State, why)
			}
		}
		a.say("")
	}
	format := a.globals.output
	if status.Running || format == ui.FormatJSON || format == ui.FormatYAML {
		if err := a.result(result); err != nil {
			return err
		}
	}
	if !status.Running {
		return notRunning(cluster)
	}
	return nil
}

func newClusterKubeconfig(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "kubeconfig [NAME]",
		Short:   "Print the cluster's kubeconfig, which holds its admin key",
		Example: "perch cluster kubeconfig > kubeconfig",
		Args:    cobra.MaximumNArgs(1),
	}, func(_ context.Context, args []string) error {
		data, err := a.cluster(args...).AdminKubeconfig()
		if err != nil {
			return err
		}
		_, err = a.env.Out.Write(data)
		return err
	})
}

// took is how long this run has taken.
func (a *app) took() string { return ui.Duration(a.env.Now().Sub(a.began)) }

// prefixed is text after a prefix, "" when there is no text.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
