package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/kubeconfig"
	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/supervisor"
	"github.com/perch-k8s/perch/internal/progress"
)

// Stop ends the node and keeps its state. Containers are asked to end first, as `docker stop` does.
func (c Cluster) Stop(ctx context.Context, r progress.Reporter) error {
	if err := c.validate(); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	r.Report(progress.Event{ID: "cluster", Status: progress.Working, Text: "stopping"})
	if err := c.stop(ctx, nil); err != nil {
		return err
	}
	if !status.Running {
		r.Report(progress.Event{ID: "cluster", Status: progress.Same, Text: "not running"})
		return nil
	}
	r.Report(progress.Event{ID: "cluster", Status: progress.Done, Text: "stopped"})
	return nil
}

func needRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return fault.New(fault.Other, "run the command with sudo", "the node belongs to root")
}

// stop asks the supervisor to end and waits for it; then it removes what a killed one left on the host. heard, unless it is
// nil, gets all events of the node, from its start on.
func (c Cluster) stop(ctx context.Context, heard func(sandbox.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	err := c.events(ctx, "POST", "/stop", func(e sandbox.Event) bool {
		if heard != nil {
			heard(e)
		}
		return true
	})
	if err != nil && !errors.Is(err, errGone) && !notRunning(err) {
		return fmt.Errorf("stop cluster %q: %w", c.Name, err)
	}
	lock, err := c.lockWithin(ctx, stopWithin)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return c.cleanHost(ctx)
}

// cleanHost is called with the lock held.
func (c Cluster) cleanHost(ctx context.Context) error {
	_ = os.Remove(c.layout().Control())
	release, err := supervisor.Claim(ctx, c.Name)
	if fault.KindOf(err) == fault.Locked {
		return nil // what is on the host is another's, of the same name
	}
	if err != nil {
		return err
	}
	defer release()
	state, err := supervisor.ReadState(c.layout())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return supervisor.Clean(ctx, c.layout(), state)
}

// Delete stops the node and removes all of it: state, images, volumes, and its context in the kubeconfig. Every step
// runs, whatever the others say.
func (c Cluster) Delete(ctx context.Context, r progress.Reporter) error {
	if err := c.validate(); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	_, err := os.Stat(c.Dir)
	existed := err == nil
	r.Report(progress.Event{ID: "cluster", Status: progress.Working, Text: "deleting"})
	steps := []struct {
		name string
		run  func() error
	}{
		{"stop the node", func() error { return c.stop(ctx, nil) }},
		{"remove the context from the kubeconfig", func() error {
			if c.Kubeconfig == "" {
				return nil
			}
			return kubeconfig.Remove(ctx, c.Kubeconfig, c.Context())
		}},
		{"remove " + c.Dir, func() error { return os.RemoveAll(c.Dir) }},
		{"remove the lock", func() error { return removeIfThere(c.layout().Lock()) }},
	}
	var errs []error
	for _, step := range steps {
		if err := step.run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step.name, err))
		}
	}
	_ = os.Remove(filepath.Dir(c.Dir)) // the folder of all nodes, when this was the last
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !existed {
		r.Report(progress.Event{ID: "cluster", Status: progress.Same, Text: "there is none"})
		return nil
	}
	r.Report(progress.Event{ID: "cluster", Status: progress.Done, Text: "deleted"})
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
