package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/up"
)

// downFlags are the flags of down.
type downFlags struct {
	volumes, removeOrphans bool
	timeout, lockWait      seconds
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
	flags.Var(&f.lockWait, "lock-wait", "`time` to wait for a deploy of this app to end, as 5m; without it, do not")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.down(ctx, f) })
}

func (a *app) down(ctx context.Context, f downFlags) error {
	what, err := a.downText(ctx, f.volumes)
	if err != nil {
		return err
	}
	if a.globals.dryRun {
		a.say("would %s", what)
		return nil
	}
	if f.volumes {
		if err := a.confirm(ctx, what); err != nil {
			return err
		}
	}
	o := up.DownOptions{Options: a.upOptions(nil), Volumes: f.volumes}
	o.Compose.NamesOnly = true
	o.Timeout, o.LockWait = time.Duration(f.timeout), time.Duration(f.lockWait)
	if err := up.Down(ctx, o, a.progress()); err != nil {
		return err
	}
	a.closeProgress()
	a.note("down: context %s, %s", a.contextName(), a.took())
	a.note("next: perch up")
	return nil
}

// downText says what down would take away.
func (a *app) downText(ctx context.Context, volumes bool) (string, error) {
	if a.globals.projectName != "" && len(a.globals.files) == 0 {
		text := fmt.Sprintf("remove all services of project %q from context %s", a.globals.projectName, a.contextName())
		if volumes {
			text += ", and all its volumes with their data"
		}
		return text, nil
	}
	project, err := a.projectNames(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("remove all services of project %q from context %s", project.Name, a.contextName())
	if names := slices.Sorted(maps.Keys(project.Volumes)); volumes && len(names) > 0 {
		text += ", and the data of its volumes: " + strings.Join(names, ", ")
	}
	return text, nil
}
