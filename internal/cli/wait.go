package cli

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/ui"
)

// ended is how a service ended that runs to an end.
type ended struct {
	Service  string `json:"service"`
	ExitCode int    `json:"exitCode"`
}

func newWaitCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:               "wait SERVICE...",
		Short:             "Wait until services that run to an end have ended; ends with the first one's exit code",
		Example:           "perch up -d && perch wait import",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("the service's own, 2 usage, 11 Compose file, 15 no cluster"),
	}, a.wait)
}

func (a *app) wait(ctx context.Context, services []string) error {
	l, err := a.live(ctx, services)
	if err != nil {
		return err
	}
	all := make([]ended, len(services))
	g, inner := errgroup.WithContext(ctx)
	for i, service := range services {
		workloads, err := l.workloads(inner, []string{service})
		if err != nil {
			return err
		}
		job, ok := workloads[0].Object.(*batchv1.Job)
		if !ok {
			return fault.New(fault.Usage, `one that does has restart: "no", or another waits for it with service_completed_successfully`,
				"service %q does not run to an end", service)
		}
		g.Go(func() error {
			code, err := l.client.WaitEnded(inner, job)
			all[i] = ended{service, code}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r := ui.Result{Value: all}
	for _, e := range all {
		r.Names = append(r.Names, e.Service)
	}
	if !a.globals.forPeople() {
		err = a.result(r)
	} else {
		for _, e := range all {
			a.say("service %s exited with code %d", e.Service, e.ExitCode)
		}
	}
	if err == nil && all[0].ExitCode != 0 {
		return commandExit(all[0].ExitCode)
	}
	return err
}
