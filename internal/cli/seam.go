package cli

import (
	"context"
	"errors"
	"time"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/progress"
)

// Everything in this file waits for packages node and up.

var errNotWired = errors.New("not wired yet")

type clusterStatus struct {
	Running    bool
	Version    string
	Since      time.Time
	APIServer  string
	Dir        string
	Components []struct {
		Name, State   string
		PID, Restarts int
	}
}

type clusterStub struct{ Name, Dir string }

func (clusterStub) Start(context.Context, progress.Reporter) error  { return errNotWired }
func (clusterStub) Stop(context.Context, progress.Reporter) error   { return errNotWired }
func (clusterStub) Delete(context.Context, progress.Reporter) error { return errNotWired }
func (clusterStub) Status(context.Context) (clusterStatus, error) {
	return clusterStatus{}, errNotWired
}
func (clusterStub) Kubeconfig(context.Context) ([]byte, error) { return nil, errNotWired }
func (c clusterStub) Context() string {
	if c.Name == "perch" {
		return "perch"
	}
	return "perch-" + c.Name
}

func (a *app) cluster(args []string) clusterStub {
	name := a.globals.cluster
	if len(args) > 0 {
		name = args[0]
	}
	return clusterStub{Name: name}
}

func (a *app) store(context.Context) (image.Store, error) { return image.Store{}, errNotWired }

func loadProject(ctx context.Context, o compose.Options) (*compose.Project, error) {
	return compose.Load(ctx, o)
}

func (a *app) up(context.Context, upFlags, []string) error       { return errNotWired }
func (a *app) down(context.Context, downFlags) error             { return errNotWired }
func (a *app) build(context.Context, buildFlags, []string) error { return errNotWired }
func (a *app) runJob(context.Context, string, []string) error    { return errNotWired }
func (a *app) config(context.Context, configFlags, []string) error {
	return errNotWired
}
