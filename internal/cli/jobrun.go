package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/up"
)

func newRunCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:               "run JOB [-- ARG...]",
		Short:             "Run a job of the Compose file, print its log, end with its exit code",
		Example:           "perch run seed\nperch run report -- --month 2026-01",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeJob,
		Annotations:       exits("the job's own, 2 usage, 10 build, 11 Compose file, 15 no cluster"),
	}
	c.Flags().SetInterspersed(false) // what follows the job is the job's
	return a.command(c, func(ctx context.Context, args []string) error {
		rest := args[1:]
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
		return a.runJob(ctx, args[0], rest)
	})
}

func (a *app) runJob(ctx context.Context, name string, args []string) error {
	if err := a.onlyEmbedded(); err != nil {
		return err
	}
	if a.globals.dryRun {
		a.say("would run job %s on context %s", name, a.contextName())
		return nil
	}
	const suffixLength = 5 // as Kubernetes' own generated names
	suffix := strings.ToLower(rand.Text()[:suffixLength])
	code, err := up.RunJob(ctx, a.upOptions(nil), name, args, suffix, a.jobReporter("job "+name))
	if code > 0 {
		a.closeProgress()
		return commandExit(code) // what it printed says why
	}
	return err
}

// jobReporter shows the progress until the job prints its first line. From then on the terminal is the job's: its lines
// are the result of the command.
func (a *app) jobReporter(id string) progress.Reporter {
	r := a.progress()
	return progress.Func(func(e progress.Event) {
		if e.ID == id && e.Status == progress.Output {
			a.closeProgress()
			_, _ = fmt.Fprintln(a.env.Out, e.Text)
			return
		}
		r.Report(e)
	})
}
