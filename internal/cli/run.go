package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/ui"
)

// errInterrupted is the cause of the cancellation by Ctrl-C or a termination signal.
var errInterrupted = errors.New("interrupted")

// app is one run of the command line.
type app struct {
	env     Env
	globals *globals
	began   time.Time
	started bool // a command's own code runs: an error is not one of usage by default any more
	screen  screen

	target   compose.Target // the one that --target names
	targetOf string         // the project that has it
	keyring  keyring
}

// Run runs the command line args, without the program's name, and answers the exit code. It prints what there is to
// print, errors included, and never exits the process itself, unless a second interrupt asks for it.
func Run(ctx context.Context, env Env, args []string) int {
	a := &app{env: env, globals: newGlobals(), began: env.Now()}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer a.watchInterrupts(cancel)()
	defer a.closeProgress() // whatever happens, a panic too, the cursor is back

	root := a.root()
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	cmd, err := root.ExecuteContextC(ctx)
	a.closeProgress()
	if err == nil {
		return 0
	}
	return a.fail(cmd, err, errors.Is(context.Cause(ctx), errInterrupted))
}

// watchInterrupts cancels at the first interrupt and ends the process at the second. The answer stops the watch.
func (a *app) watchInterrupts(cancel context.CancelCauseFunc) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-a.env.Interrupts:
		case <-done:
			return
		}
		a.sayInterrupted()
		cancel(errInterrupted)
		select {
		case <-a.env.Interrupts:
			a.closeProgressWithin(time.Second)
			a.env.ExitAtOnce(exitInterrupted)
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// command makes run the work of c: from its start on, errors are the work's and no longer of usage.
func (a *app) command(c *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.globals.fromEnvironment(a.env); err != nil {
			return err
		}
		if err := a.globals.fromUserFile(a.env); err != nil {
			return err
		}
		a.started = true
		if !cmd.DisableFlagParsing && !a.globals.debug { // kubectl and helm have flags of their own for their logs
			silenceLibraries()
		}
		if err := a.chooseTarget(); err != nil {
			return err
		}
		if err := a.guard(cmd.Context(), cmd.Annotations[actsKey]); err != nil {
			return err
		}
		return run(cmd.Context(), args)
	}
	a.globals.addTo(c.Flags())
	c.DisableFlagsInUseLine = true
	return c
}

// result prints what a command answers.
func (a *app) result(r ui.Result) error {
	a.closeProgress()
	if isTerminal(a.env.Out) {
		r.Width, _ = terminalSize(a.env.Out)
	}
	return r.Write(a.env.Out, a.globals.output)
}

// say prints one line of a command's result, for people.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.env.Out, format+"\n", args...)
}

// silenceLibraries drops what libraries log by themselves: it would be written across the progress, and what matters of
// it comes back as errors. All three loggers belong to the process; --debug leaves them alone.
func silenceLibraries() {
	klog.SetLogger(logr.Discard())                 // client-go
	logrus.SetOutput(io.Discard)                   // containerd, BuildKit
	slog.SetDefault(slog.New(slog.DiscardHandler)) // Helm, and whoever uses package log
}
