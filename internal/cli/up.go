package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
)

// upFlags are the flags of up.
type upFlags struct {
	detach, build, noBuild, forceRecreate, removeOrphans, wait bool
	pull                                                       pullPolicy
	timeout                                                    seconds
}

func newUpCommand(a *app) *cobra.Command {
	f := upFlags{timeout: seconds(5 * time.Minute)}
	c := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Build and run the app: cluster, images, database, migrations, rollout, URL",
		Example: "perch up            # and follow the logs; Ctrl-C leaves the app running\n" +
			"perch up -d         # end when it is ready\n" +
			"perch up --dry-run  # what it would do, and why",
		Annotations: exits("1 failed, 2 usage, 10 build, 11 Compose file, 12 migration, 13 rollout,\n" +
			"15 no cluster, 16 locked"),
	}
	c.ValidArgsFunction = a.completeServices
	flags := c.Flags()
	flags.BoolVarP(&f.detach, "detach", "d", false, "end when the app is ready, instead of following its logs")
	flags.BoolVar(&f.build, "build", false, "build images even when nothing they are made from changed")
	flags.BoolVar(&f.noBuild, "no-build", false, "build nothing: use the images that are there")
	flags.Var(&f.pull, "pull", "pull base and service images: always, missing or never")
	flags.BoolVar(&f.forceRecreate, "force-recreate", false, "roll all services, changed or not")
	flags.BoolVar(&f.removeOrphans, "remove-orphans", false, "remove services that the file no longer has")
	flags.BoolVar(&f.wait, "wait", false, "the same as --detach: up always waits until the app is ready")
	flags.VarP(&f.timeout, "timeout", "t", "`time` a service may take to become ready, as 30s or 5m")
	flags.Var(&f.timeout, "wait-timeout", "the same as --timeout")
	_ = flags.MarkHidden("wait")
	_ = flags.MarkHidden("wait-timeout")
	return a.command(c, func(ctx context.Context, args []string) error {
		if f.build && f.noBuild {
			return fault.New(fault.Usage, "", "--build and --no-build: only one of them")
		}
		return a.up(ctx, f, args)
	})
}
