package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
	"github.com/perch-k8s/perch/internal/watch"
)

func newWatchCommand(a *app) *cobra.Command {
	f := watchFlags{timeout: seconds(5 * time.Minute), prune: true}
	c := &cobra.Command{
		Use:   "watch [SERVICE...]",
		Short: "Bring the app up, then rebuild, sync and restart its services as their files change",
		Example: "perch watch          # by develop.watch of the Compose file; Ctrl-C ends it, the app goes on running\n" +
			"perch watch web      # this service only\n" +
			"perch up --watch     # the same, with the flags of up",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("1 failed, 2 usage, 10 build, 11 Compose file, 12 migration, 13 rollout,\n15 no cluster, 16 locked"),
	}
	flags := c.Flags()
	flags.BoolVar(&f.noUp, "no-up", false, "do not bring the app up first: it runs")
	flags.BoolVar(&f.prune, "prune", true, "remove images that were replaced, but for those that a rollback may need")
	flags.VarP(&f.timeout, "timeout", "t", "`time` a service may take to become ready, as 30s or 5m")
	return a.command(c, func(ctx context.Context, services []string) error {
		o := a.upOptions(services)
		o.Timeout = time.Duration(f.timeout)
		return a.watch(ctx, up.SessionOptions{Options: o, NoUp: f.noUp, Prune: f.prune}, services)
	})
}

// watchFlags are the flags of watch.
type watchFlags struct {
	noUp, prune bool
	timeout     seconds
}

// upWatch is `perch up --watch`.
func (a *app) upWatch(ctx context.Context, f upFlags, services []string) error {
	if f.noBuild {
		return fault.New(fault.Usage, "leave --no-build away, or use perch watch --no-up", "--watch and --no-build: only one of them")
	}
	if f.detach || f.wait {
		return fault.New(fault.Usage, "leave --detach away", "--watch and --detach: only one of them")
	}
	return a.watch(ctx, up.SessionOptions{Options: f.options(a, services), Prune: true}, services)
}

func (a *app) watch(ctx context.Context, o up.SessionOptions, services []string) error {
	if err := a.onlyEmbedded(); err != nil {
		return err
	}
	session, err := up.Open(ctx, o)
	if err != nil {
		return err
	}
	rules, left, err := watch.Rules(session.Project(), services)
	if err != nil {
		return err
	}
	a.warn(left)
	if len(rules) == 0 {
		return fault.New(fault.ComposeFile, "see the warnings", "nothing to watch: no rule is left")
	}
	if a.globals.dryRun {
		return a.dryWatch(ctx, o.Options, rules)
	}
	watcher, err := watch.New(rules)
	if err != nil {
		return err
	}
	result, err := a.beginWatch(ctx, session, o.NoUp)
	if err != nil {
		return err
	}
	return a.keepWatching(ctx, session, watcher, rules, result, services)
}

// dryWatch says what up would do and what would be watched.
func (a *app) dryWatch(ctx context.Context, o up.Options, rules []watch.Rule) error {
	result, err := up.Up(ctx, o, a.progress())
	if err != nil {
		return err
	}
	a.closeProgress()
	if err := a.printUp(result); err != nil {
		return err
	}
	for _, r := range rules {
		a.say("watch      %s  %s  %s", r.Service, r.Action, r.Path)
	}
	return nil
}

// beginWatch brings the project up, unless it is said to be.
func (a *app) beginWatch(ctx context.Context, session *up.Session, noUp bool) (result up.Result, err error) {
	if noUp {
		result, err = session.Attach(ctx)
	} else {
		result, err = session.Up(ctx, a.progress())
	}
	a.warn(result.Warnings)
	a.closeProgress()
	if err != nil || noUp {
		return result, err
	}
	return result, a.printUp(result)
}

// keepWatching watches and follows the logs until Ctrl-C, which leaves the app alone and is no failure.
func (a *app) keepWatching(
	ctx context.Context, session *up.Session, watcher *watch.Watcher, rules []watch.Rule, result up.Result, services []string,
) error {
	places := map[string]watch.Place{}
	for _, r := range rules {
		place, err := session.Place(r.Service)
		if err != nil {
			return err
		}
		places[r.Service] = watch.Place(place)
	}
	a.endsWithInterrupt()
	report, done := a.lines()
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logs := make(chan error, 1)
	go func() { logs <- session.Client().Logs(ctx, appLogs(result.Namespace, services), a.logPrinter(false)) }()
	err := watcher.Run(ctx, watch.Options{
		Project: session.Project(), Rules: rules, Places: places, Street: session, Cluster: session.Client(), Report: report,
	}, func() {
		report.Report(progress.Event{ID: "watch", Status: progress.Done,
			Text: "watching files of " + list(slices.Sorted(maps.Keys(places))) + "; Ctrl-C ends that, the app goes on running"})
	})
	cancel()
	if lerr := <-logs; err == nil {
		err = lerr
	}
	if err == nil {
		a.note("\nthe app goes on running; next: perch watch, perch logs -f, perch ps, perch down")
	}
	return err
}

// lines is a Reporter whose events stand between the lines of logs: nothing is drawn, each is a line.
func (a *app) lines() (progress.Reporter, func()) {
	around := a.env.around(a.env.Err)
	mode := a.globals.mode().Resolve(around)
	if mode == ui.TTY {
		mode = ui.Plain
	}
	display := ui.New(ui.Options{Mode: mode, Out: a.env.Err, Color: a.globals.color.Colors(around), Now: a.env.Now})
	return display, display.Close
}

// appLogs are the logs of the app's services from now on. Jobs ended, and their output was seen.
func appLogs(namespace string, services []string) kube.LogOptions {
	const noJobs = ",!batch.kubernetes.io/job-name"
	o := kube.LogOptions{Namespace: namespace, Selector: kube.Selector(namespace, "") + noJobs, Follow: true, Tail: -1}
	for _, s := range services {
		o.Services = append(o.Services, compose.Name(s))
	}
	return o
}
