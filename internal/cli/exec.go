package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/perch-k8s/perch/internal/kube"
)

func newExecCommand(a *app) *cobra.Command {
	noTTY, index := false, 0
	c := &cobra.Command{
		Use:               "exec SERVICE COMMAND [ARG...]",
		Short:             "Run a command in a running container of a service",
		Example:           "perch exec web sh\nperch exec -T postgres pg_dump -U app app > dump.sql",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeService,
		Annotations:       exits("the command's own, 2 usage, 11 Compose file, 15 no cluster"),
	}
	flags := c.Flags()
	flags.SetInterspersed(false) // what follows the service is the command's
	flags.BoolVarP(&noTTY, "no-tty", "T", false, "no terminal for the command; there is none without one here")
	flags.IntVar(&index, "index", 0, "`number` of the pod, from 1, when there are several; 0 is any")
	return a.command(c, func(ctx context.Context, args []string) error {
		service, command := args[0], args[1:]
		l, err := a.live(ctx, []string{service})
		if err != nil {
			return err
		}
		if err := l.notElsewhere(service, "connect to it from a service that uses it: perch exec SERVICE sh"); err != nil {
			return err
		}
		pod, err := l.client.RunningPod(ctx, l.namespace, l.deployed.selector(service), service, index)
		if err != nil {
			return err
		}
		code, err := a.attach(ctx, l.client, kube.ExecOptions{
			Namespace: l.namespace,
			Pod:       pod.Name,
			Container: l.container(service),
			Command:   command,
			TTY:       !noTTY && isTerminal(a.env.In) && isTerminal(a.env.Out),
		})
		if err != nil && code > 0 {
			return explainedExit{err, code}
		}
		if err != nil {
			return err
		}
		if code != 0 {
			return commandExit(code)
		}
		return nil
	})
}

// attach executes with this process's streams. With a TTY, our own terminal is raw as long as the command runs, so that
// every key, Ctrl-C too, is the command's.
func (a *app) attach(ctx context.Context, client *kube.Client, o kube.ExecOptions) (int, error) {
	o.Stdin, o.Stdout, o.Stderr = a.env.In, a.env.Out, a.env.Err
	if !o.TTY {
		return client.Exec(ctx, o)
	}
	fd, _ := descriptor(a.env.In)
	state, err := term.MakeRaw(fd)
	if err != nil {
		return -1, err
	}
	defer func() { _ = term.Restore(fd, state) }() // nothing can be done about it, and the command has run
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.Resize = a.sizes(ctx)
	return client.Exec(ctx, o)
}

// sizes tells the terminal's size now and at each change, until ctx is done.
func (a *app) sizes(ctx context.Context) <-chan kube.TerminalSize {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	sizes := make(chan kube.TerminalSize, 1)
	go func() { // ends with ctx; nobody needs to wait for it
		defer signal.Stop(changed)
		for {
			w, h := terminalSize(a.env.Out)
			select {
			case sizes <- kube.TerminalSize{Width: uint16(w), Height: uint16(h)}: //nolint:gosec // a terminal's size fits
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sizes
}
