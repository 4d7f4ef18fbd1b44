package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/render"
	"github.com/perch-k8s/perch/internal/up"
)

// runFlags are the flags of run, all of them for services.
type runFlags struct {
	env                                []string
	user, workdir, entrypoint          string
	noTTY, noDeps, build, interactive  bool
	remove, hasEntrypoint, forServices bool
}

func newRunCommand(a *app) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SERVICE|JOB [COMMAND...]",
		Short: "Run a service or a job once, with its own command or another; ends with its exit code",
		Example: "perch run web sh                       # a shell with web's image, variables, secrets and volumes\n" +
			"perch run -T db psql < dump.sql\n" +
			"perch run -e DEBUG=1 web npm test\n" +
			"perch run report -- --month 2026-01    # a job of the Compose file, with arguments",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRunnable,
		Annotations:       exits("the command's own, 2 usage, 10 build, 11 Compose file, 15 no cluster"),
	}
	flags := c.Flags()
	flags.SetInterspersed(false) // what follows the name is the command's
	flags.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, `NAME=VALUE`, or NAME as it is here; repeatable")
	flags.StringVarP(&f.user, "user", "u", "", "run as another `user`, a name or UID[:GID]")
	flags.StringVarP(&f.workdir, "workdir", "w", "", "begin in another `folder` of the container")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "another `program` instead of the image's or the file's entrypoint")
	flags.BoolVarP(&f.noTTY, "no-TTY", "T", false, "no terminal for the command; there is none without one here")
	flags.BoolVarP(&f.interactive, "interactive", "i", true, "pass on what comes on standard input")
	flags.BoolVar(&f.noDeps, "no-deps", false, "do not bring up what the service depends on")
	flags.BoolVar(&f.build, "build", false, "build the image even when nothing it is made from changed")
	flags.BoolVar(&f.remove, "rm", true, "taken for docker compose's sake: what has run is always removed")
	_ = flags.MarkHidden("rm")
	return a.command(c, func(ctx context.Context, args []string) error {
		for _, name := range []string{"env", "user", "workdir", "entrypoint", "no-TTY", "interactive", "no-deps", "build"} {
			f.forServices = f.forServices || c.Flags().Changed(name)
		}
		f.hasEntrypoint = c.Flags().Changed("entrypoint")
		return a.run(ctx, f, args)
	})
}

// run runs a job, or else a service, of that name.
func (a *app) run(ctx context.Context, f runFlags, args []string) error {
	name, rest := args[0], args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	project, err := a.project(ctx)
	if err != nil {
		return err
	}
	_, isJob := project.Jobs[name]
	if !isJob {
		if err := checkRunnable(project, name); err != nil {
			return err
		}
		return a.runService(ctx, f, name, rest)
	}
	if f.forServices {
		return fault.New(fault.Usage, "write what it needs under jobs: in the Compose file", "%q is a job: run's flags are for services", name)
	}
	return a.runJob(ctx, name, rest)
}

// checkRunnable refuses a name that is no service, and is no job either.
func checkRunnable(project *compose.Project, name string) error {
	err := compose.CheckServices(project.Project, []string{name})
	_, off := project.DisabledServices[name]
	if err == nil || off || len(project.Jobs) == 0 {
		return err
	}
	return compose.Unknown("service or job", name, slices.Concat(project.ServiceNames(), slices.Sorted(maps.Keys(project.Jobs))))
}

// newSuffix makes the name of a run unique, as Kubernetes' own generated names.
func newSuffix() string {
	const length = 5
	return strings.ToLower(rand.Text()[:length])
}

func (a *app) runJob(ctx context.Context, name string, args []string) error {
	if a.globals.dryRun {
		a.say("would run job %s on context %s", name, a.contextName())
		return nil
	}
	code, err := up.RunJob(ctx, a.upOptions(nil), name, args, newSuffix(), a.jobReporter("job "+name))
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

func (a *app) runService(ctx context.Context, f runFlags, service string, command []string) error {
	if !f.remove {
		return fault.New(fault.Usage, "leave it out", "--rm=false: what has run is always removed")
	}
	if a.globals.dryRun {
		a.say("would run service %s on context %s", service, a.contextName())
		return nil
	}
	o := up.OneOff{Options: a.upOptions(nil), Service: service, NoDeps: f.noDeps, Suffix: newSuffix()}
	o.Build, o.Timeout = f.build, 5*time.Minute
	o.Overrides = render.Overrides{
		Command: command, Environment: a.given(f.env), User: f.user, WorkingDir: f.workdir,
		TTY: f.interactive && !f.noTTY && isTerminal(a.env.In) && isTerminal(a.env.Out),
	}
	if f.hasEntrypoint {
		o.Entrypoint = &f.entrypoint
	}
	o.Streams = kube.OneOff{Stdout: a.env.Out, Stderr: a.env.Err}
	if f.interactive {
		o.Streams.Stdin = a.env.In
	}
	sizes, stop := context.WithCancel(ctx)
	defer stop()
	restore := func() {}
	defer func() { restore() }()
	if o.TTY {
		o.Streams.Resize = a.sizes(sizes)
	}
	o.Streams.Begun = func() {
		a.closeProgress() // from here on the terminal is the command's
		if o.TTY {
			restore = a.raw()
		}
	}
	code, err := up.RunOneOff(ctx, o, a.progress())
	restore()
	restore = func() {}
	if err != nil && code > 0 {
		return explainedExit{err, code}
	}
	if err == nil && code != 0 {
		return commandExit(code)
	}
	return err
}

// raw gives our terminal to the command, every key of it, until the answer is called.
func (a *app) raw() (restore func()) {
	fd, _ := descriptor(a.env.In)
	state, err := term.MakeRaw(fd)
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(fd, state) } // nothing can be done about it, and the command has run
}

// given is the variables of -e. One without a value has that of our own environment, and is left out when it has none.
func (a *app) given(env []string) map[string]string {
	all := map[string]string{}
	for _, entry := range env {
		name, value, has := strings.Cut(entry, "=")
		if !has {
			value, has = a.env.lookup(name)
		}
		if has {
			all[name] = value
		}
	}
	return all
}

// completeRunnable completes the names of the project's services and jobs.
func (a *app) completeRunnable(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	services, _ := a.completeServices(cmd, args, to)
	jobs, directive := a.completeJob(cmd, args, to)
	return append(services, jobs...), directive
}
