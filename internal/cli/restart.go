package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/kube"
)

func newRestartCommand(a *app) *cobra.Command {
	timeout, noDeps := seconds(5*time.Minute), false
	c := &cobra.Command{
		Use:               "restart [SERVICE...]",
		Short:             "Give services new pods, as a deploy does, and wait until they are ready",
		Example:           "perch restart web\nperch restart          # all services",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("2 usage, 11 Compose file, 13 rollout, 15 no cluster"),
	}
	flags := c.Flags()
	flags.VarP(&timeout, "timeout", "t", "`time` the services may take to become ready, as 30s or 5m")
	flags.BoolVar(&noDeps, "no-deps", false, "leave alone services that depend on these with restart: true")
	return a.command(c, func(ctx context.Context, services []string) error {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout))
		defer cancel()
		l, err := a.live(ctx, services)
		if err != nil {
			return err
		}
		return a.restart(ctx, l, services, !noDeps)
	})
}

// restart restarts the services side by side, and then those that want to be restarted with them.
func (a *app) restart(ctx context.Context, l live, services []string, dependents bool) error {
	first, err := l.workloads(ctx, services)
	if err != nil {
		return err
	}
	waves := [][]kube.Workload{first}
	if dependents && len(services) > 0 {
		all, err := l.workloads(ctx, nil)
		if err != nil {
			return err
		}
		var after []kube.Workload
		for _, service := range l.restartedWith(services) {
			after = append(after, ofService(all, service)...) // those that are not up have nothing to restart
		}
		waves = append(waves, after)
	}
	done := 0
	for _, wave := range waves {
		ended := func(w kube.Workload) bool { return w.Kind() == "job" }
		for _, w := range wave {
			if ended(w) {
				a.note("service %s runs to an end and is not restarted; to run it again: perch run %s", w.Service, w.Service)
			}
		}
		wave = slices.DeleteFunc(wave, ended)
		done += len(wave)
		if a.globals.dryRun {
			for _, w := range wave {
				a.say("would restart service %s on context %s", w.Service, a.contextName())
			}
			continue
		}
		if err := l.client.RestartAndWait(ctx, wave, a.env.Now(), a.progress()); err != nil {
			return err
		}
	}
	a.closeProgress()
	if done == 0 {
		a.note("nothing to restart; start the app: perch up")
	} else if !a.globals.dryRun {
		a.note("restarted: context %s, namespace %s, %s", a.contextName(), l.namespace, a.took())
	}
	return nil
}
