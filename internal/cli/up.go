package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/proof"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// upFlags are the flags of up.
type upFlags struct {
	detach, build, noBuild, forceRecreate, removeOrphans, wait, watch, noProof, takeBack bool

	pull              pullPolicy
	timeout, lockWait seconds
	plan              string
	maxFailures       uint
	limited           bool // maxFailures was given
	historyMax        historyMax
	scale             scales
	to                registryFlags
}

func newUpCommand(a *app) *cobra.Command {
	f := upFlags{timeout: seconds(5 * time.Minute), historyMax: defaultHistoryMax, scale: scales{}}
	c := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Build and run the app: cluster, images, database, migrations, rollout, URL",
		Example: "perch up            # and follow the logs; Ctrl-C leaves the app running\n" +
			"perch up -d         # end when it is ready\n" +
			"perch up --dry-run  # what it would do, and why",
		Annotations: exits("1 failed, 2 usage, 10 build, 11 Compose file, 12 migration, 13 rollout,\n" +
			"14 rolled back, 15 no cluster, 16 locked, 18 proof"),
	}
	c.ValidArgsFunction = a.completeServices
	flags := c.Flags()
	flags.BoolVarP(&f.detach, "detach", "d", false, "end when the app is ready, instead of following its logs")
	flags.BoolVar(&f.build, "build", false, "build images even when nothing they are made from changed")
	flags.BoolVar(&f.noBuild, "no-build", false, "build nothing: use the images that are there")
	f.to.addTo(flags)
	flags.Var(&f.pull, "pull", "pull images `WHEN`: always, or missing ones only")
	flags.BoolVar(&f.forceRecreate, "force-recreate", false, "roll all services, changed or not")
	flags.BoolVar(&f.removeOrphans, "remove-orphans", false, "remove services that the file no longer has")
	flags.BoolVar(&f.takeBack, "rollback-on-failure", false, "return a service whose rollout fails to its deployed revision")
	flags.Var(f.scale, "scale", "`SERVICE=N`: another number of replicas than the file's, for this deploy; repeatable")
	flags.StringVar(&f.plan, "plan", "", "do what a `file` of perch plan --out says, or nothing")
	flags.BoolVar(&f.wait, "wait", false, "the same as --detach: up always waits until the app is ready")
	flags.BoolVarP(&f.watch, "watch", "w", false, "rebuild, sync and restart as files change: see perch watch")
	flags.VarP(&f.timeout, "timeout", "t", "`time` a service may take to become ready, as 30s or 5m")
	flags.Var(&f.timeout, "wait-timeout", "the same as --timeout")
	flags.Var(&f.lockWait, "lock-wait", "`time` to wait for another deploy of this app to end, as 5m; without it, do not")
	flags.Var(&f.historyMax, "history-max", historyMaxUsage)
	flags.UintVar(&f.maxFailures, "max-failures", 0, "end with 18 when more than `N` requests failed during the rollout; without it, only tell")
	flags.BoolVar(&f.noProof, "no-proof", false, "send no requests to published ports during the rollout")
	_ = flags.MarkHidden("wait")
	_ = flags.MarkHidden("wait-timeout")
	return a.command(c, func(ctx context.Context, args []string) error {
		if f.build && f.noBuild {
			return fault.New(fault.Usage, "", "--build and --no-build: only one of them")
		}
		f.limited = flags.Changed("max-failures")
		if f.limited && f.noProof {
			return fault.New(fault.Usage, "", "--max-failures and --no-proof: only one of them")
		}
		if f.watch {
			return a.upWatch(ctx, f, args)
		}
		return a.up(ctx, f, args)
	})
}

func (a *app) up(ctx context.Context, f upFlags, services []string) error {
	o := f.options(a, services)
	if f.plan != "" {
		p, err := readPlan(a.absolute(f.plan), o)
		if err != nil {
			return err
		}
		o.Planned = p.Steps
	}
	result, err := up.Up(ctx, o, a.progress())
	a.warn(result.Warnings)
	a.closeProgress()
	if err != nil && fault.KindOf(err) != fault.Proof {
		if proven := a.noteProof(result.Proof); proven != "" {
			a.note("during the rollout: %s", proven)
		}
		return err
	}
	if err := errors.Join(a.printUp(result), err); err != nil {
		return err
	}
	follow := !f.detach && !f.wait && !a.globals.dryRun && a.globals.output == ui.FormatDefault && isTerminal(a.env.Out)
	if !follow {
		return nil
	}
	return a.followUp(ctx, result, services)
}

// options are those of the street.
func (f upFlags) options(a *app, services []string) up.Options {
	o := a.upOptions(services)
	o.Build, o.NoBuild, o.Pull = f.build, f.noBuild, f.pull == "always"
	o.ForceRecreate, o.RemoveOrphans, o.Timeout = f.forceRecreate, f.removeOrphans, time.Duration(f.timeout)
	o.HistoryMax, o.Scale = int(f.historyMax), f.scale
	f.to.set(&o)
	o.LockWait, o.NoProof, o.TakeBack = time.Duration(f.lockWait), f.noProof, f.takeBack
	if f.limited {
		o.MaxFailures = new(int(f.maxFailures)) //nolint:gosec // a count
	}
	return o
}

// printUp is the end of up: what changed, where the app answers, and the next command.
func (a *app) printUp(r up.Result) error {
	if !a.globals.forPeople() {
		return a.result(ui.Result{Value: r, Names: r.URLs})
	}
	if a.globals.dryRun {
		a.say("%s", strings.TrimRight(orElse(r.Plan, "nothing would change"), "\n"))
		return nil
	}
	for _, url := range r.URLs {
		a.say("%s", url)
	}
	changed := "nothing changed"
	if r.Changed {
		changed = "up"
	}
	proven := a.noteProof(r.Proof)
	a.note("%s: context %s, namespace %s, deploy %d, revisions %s, %s%s",
		changed, r.Context, r.Namespace, r.Deploy, revisions(r.Revisions), a.took(), prefixed("; during the rollout ", proven))
	a.note("next: perch ps, perch logs -f, perch down")
	return nil
}

// noteProof tells how requests fared while services rolled, for each of several services and where some failed. It returns
// how they fared in all, "" when there were none.
func (a *app) noteProof(r *proof.Result) string {
	if r == nil {
		return ""
	}
	asked := 0
	for _, s := range r.Services {
		if s.Skipped == "" {
			asked++
		}
	}
	for _, s := range r.Services {
		switch {
		case s.Skipped != "":
			a.note("%s: no requests during the rollout: %s", s.Service, s.Skipped)
		case asked > 1 || s.Failed > 0:
			a.note("%s: %s%s", s.Service, s.Counts, prefixed(": ", s.Why()))
		}
	}
	if asked == 0 {
		return ""
	}
	return r.Counts.String()
}

// listed is how many services' revisions are told in a line. Of more, perch history tells them.
const listed = 5

// revisions lists services with their Helm revision.
func revisions(of map[string]int) string {
	if len(of) > listed {
		return fmt.Sprintf("of %d services", len(of))
	}
	var each []string
	for service, n := range of {
		each = append(each, fmt.Sprintf("%s %d", service, n))
	}
	slices.Sort(each)
	return list(each)
}

// followUp follows the logs of an app that is up. Ctrl-C ends that and leaves the app alone, which is no failure: see
// docs/decisions/0008-up-follows-logs.md.
func (a *app) followUp(ctx context.Context, r up.Result, services []string) error {
	client, err := a.kube(r.Namespace)
	if err != nil {
		return err
	}
	a.endsWithInterrupt()
	a.note("following the logs; Ctrl-C ends that, the app goes on running (perch down stops it)\n")
	err = client.Logs(ctx, appLogs(r.Namespace, services), a.logPrinter(false))
	if ctx.Err() != nil {
		a.note("\nthe app goes on running; next: perch logs -f, perch ps, perch down")
		return nil
	}
	return err
}
