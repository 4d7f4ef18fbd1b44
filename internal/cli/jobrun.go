package cli

import (
	"context"

	"github.com/spf13/cobra"
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
