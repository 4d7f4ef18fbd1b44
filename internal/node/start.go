package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/containerd"
	"github.com/perch-k8s/perch/internal/node/kubeconfig"
	"github.com/perch-k8s/perch/internal/node/preflight"
	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/supervisor"
	"github.com/perch-k8s/perch/internal/progress"
)

const (
	quietFor    = 90 * time.Second // when nothing became ready for so long, the node has a fault; a slow machine takes longer for all
	storeWithin = 20 * time.Second // for a containerd that was killed to answer again
	stopWithin  = 45 * time.Second
	logTail     = 20 // lines of a log in an error
)

// Start brings the node up and returns when it is ready. A node that runs already is left alone.
func (c Cluster) Start(ctx context.Context, r progress.Reporter) error {
	started := time.Now()
	began, err := c.begin(ctx, r)
	if err != nil {
		return err
	}
	if err := c.await(ctx, r, began, supervisor.Node); err != nil {
		return err
	}
	if err := c.mergeKubeconfig(ctx); err != nil {
		return err
	}
	status, text := progress.Same, "running"
	if began {
		status, text = progress.Done, fmt.Sprintf("ready in %.1f s", time.Since(started).Seconds())
	}
	r.Report(progress.Event{ID: "cluster", Status: status, Text: text})
	return nil
}

// StartStore starts the node and returns as soon as its image store answers, so that images can be built while Kubernetes
// comes up. Start must follow.
func (c Cluster) StartStore(ctx context.Context, r progress.Reporter) error {
	began, err := c.begin(ctx, r)
	if err != nil {
		return err
	}
	if err := c.await(ctx, r, began, supervisor.Containerd); err != nil {
		return err
	}
	// It was ready; if it was killed since, it is being started again.
	ctx, cancel := context.WithTimeoutCause(ctx, storeWithin, fmt.Errorf("it does not answer within %s", storeWithin))
	defer cancel()
	return containerd.WaitReady(ctx, c.layout().ContainerdSocket())
}

// begin checks the machine and starts the supervisor, unless it runs.
func (c Cluster) begin(ctx context.Context, r progress.Reporter) (began bool, err error) {
	if err := c.validate(); err != nil {
		return false, err
	}
	if c.serving(ctx) { // what it needed was there; and a disk that filled up since must not keep anybody from it
		return false, c.checkRunning()
	}
	m := c.machine()
	var planErr error // told after what the machine lacks
	m.Cluster.Plan, planErr = c.nextPlan()
	findings := preflight.Check(ctx, m)
	for _, f := range findings {
		if f.State == preflight.Warn {
			r.Report(progress.Event{ID: "cluster", Status: progress.Warned, Text: f.What + "; " + f.Cure})
		}
	}
	if err := preflight.Error(findings); err != nil {
		return false, err
	}
	if planErr != nil {
		return false, planErr
	}
	return c.ensureSupervisor(ctx)
}

// await waits for a component. A start of our own that fails or is interrupted is taken back.
func (c Cluster) await(ctx context.Context, r progress.Reporter, began bool, component string) error {
	err := c.awaitReady(ctx, r, component)
	if err != nil && began {
		r.Report(progress.Event{ID: "cluster", Status: progress.Working, Text: "stopping what was started"})
		err = c.abandon(err)
	}
	return err
}

func (c Cluster) mergeKubeconfig(ctx context.Context) error {
	if c.Kubeconfig == "" {
		return nil
	}
	own, err := c.AdminKubeconfig()
	if err != nil {
		return err
	}
	return kubeconfig.Merge(ctx, c.Kubeconfig, c.Context(), own)
}

// ensureSupervisor starts the supervisor unless one runs, and tells whether it did.
func (c Cluster) ensureSupervisor(ctx context.Context) (began bool, err error) {
	deadline := time.Now().Add(stopWithin)
	for {
		lock, ok, err := c.lock()
		if err != nil {
			return false, err
		}
		if ok {
			defer func() { _ = lock.Close() }()
			return true, c.spawn(lock)
		}
		// Somebody holds the lock: a running supervisor answers; one that is stopping goes away.
		if c.serving(ctx) {
			return false, nil
		}
		if time.Now().After(deadline) {
			return false, fault.New(fault.Locked, "perch cluster status", "another perch command works on cluster %q", c.Name)
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// serving says whether a supervisor answers that is not on its way out.
func (c Cluster) serving(ctx context.Context) bool {
	s, err := c.Status(ctx)
	return err == nil && s.Running && s.State != sandbox.Stopped && s.State != sandbox.Failed
}

// guard is a shell that starts the supervisor again when a signal ended it (a shell's exit code is then above 128): when
// somebody, or a machine without memory, killed it. A shell takes less than a megabyte.
const guard = `while "$@"; code=$?; [ $code -gt 128 ]; do sleep 0.1; done; exit $code`

// spawn starts the supervisor in the background. The control socket listens before it runs, so that nobody has to wait
// for it; the lock goes with it.
func (c Cluster) spawn(lock *os.File) error {
	l := c.layout()
	if err := os.RemoveAll(l.Run()); err != nil {
		return err
	}
	for _, dir := range []string{l.Run(), l.Logs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := c.keepSettings(); err != nil {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.Control(), Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	defer func() { _ = listener.Close() }()
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	log, err := os.OpenFile(l.Log("supervisor"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("/bin/sh", "-c", guard, "perch", c.Executable, "node", "supervisor", c.Name, c.Dir)
	cmd.Env, cmd.Dir = c.Environ, "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{socket, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// awaitReady follows the node's events until the component is ready, and passes them on.
func (c Cluster) awaitReady(ctx context.Context, r progress.Reporter, component string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(quietFor, func() { cancel(errStuck) })
	defer stuck.Stop()
	began := time.Now() // what happened before is history: a node that runs already has much of it
	var failure, last string
	err := c.events(ctx, "GET", "/events", func(e sandbox.Event) bool {
		ready := e.State == sandbox.Ready
		switch {
		case e.Component == component && ready:
			return false
		case e.Component == supervisor.Node && e.Error != "":
			failure = e.Error
		case e.Error != "":
			last = e.Component + ": " + e.Error
		}
		if ready && e.Time.After(began) {
			stuck.Reset(quietFor)
			r.Report(progress.Event{ID: "cluster", Status: progress.Working, Text: e.Component + " ready", Time: e.Time})
		}
		return true
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStuck) && failure == "" && last == "" {
		return context.Cause(ctx)
	}
	return c.startFailure(err, failure, last)
}

var errStuck = fmt.Errorf("nothing more became ready within %s", quietFor)

// startFailure says why, with what the logs say.
func (c Cluster) startFailure(err error, failure, last string) error {
	why := failure
	if why == "" {
		why = err.Error()
	}
	if last != "" && !strings.Contains(why, last) {
		why += "; " + last
	}
	f := fault.New(fault.Other, "look into "+c.layout().Logs(), "cluster %q did not start: %s", c.Name, why)
	for _, name := range []string{"supervisor", "init"} {
		f.Output = append(f.Output, tail(c.layout().Log(name), logTail)...)
	}
	return f
}

func tail(path string, n int) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}

// abandon takes back a start that did not succeed or was interrupted. The components that are stopped say what they waited for,
// which goes to the error's output.
func (c Cluster) abandon(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	failure, _ := errors.AsType[*fault.Error](err)
	stopped := c.stop(ctx, func(e sandbox.Event) {
		if failure != nil && e.State == sandbox.Exited && e.Error != "" {
			failure.Output = append(failure.Output, e.Component+": "+e.Error)
		}
	})
	return errors.Join(err, stopped)
}
