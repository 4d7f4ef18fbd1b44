package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// downFlags are the flags of down.
type downFlags struct {
	volumes, removeOrphans bool
	timeout                seconds
}

func newDownCommand(a *app) *cobra.Command {
	f := downFlags{timeout: seconds(5 * time.Minute)}
	c := &cobra.Command{
		Use:         "down",
		Short:       "Remove the app; its volumes stay, unless -v is given",
		Example:     "perch down\nperch down -v  # with the data; asks first",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 2 usage, 11 Compose file, 15 no cluster, 16 locked"),
	}
	flags := c.Flags()
	flags.BoolVarP(&f.volumes, "volumes", "v", false, "remove the volumes and the data in them too; asks first")
	flags.BoolVar(&f.removeOrphans, "remove-orphans", false, "taken for docker compose's sake: down removes all services")
	flags.VarP(&f.timeout, "timeout", "t", "`time` the removal may take, as 30s or 5m")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.down(ctx, f) })
}
