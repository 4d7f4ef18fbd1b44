package cli

import (
	"context"
	"slices"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// live is a project as it is in the cluster.
type live struct {
	deployed
	client *kube.Client
}

// live is the project that is meant, when it has the named services.
func (a *app) live(ctx context.Context, services []string) (live, error) {
	d, err := a.deployed(ctx)
	if err != nil {
		return live{}, err
	}
	if err := checkServices(services, d.services); err != nil {
		return live{}, err
	}
	client, err := a.kube(d.namespace)
	return live{deployed: d, client: client}, err
}

// selector lets through what runs of the project for good: no migrations, runs of jobs and one-offs.
func (l live) selector() string { return l.all() + ",!" + kube.ComponentLabel }

// workloads are those in whose pods the named services run, all when none is named. A service that has none is an error.
func (l live) workloads(ctx context.Context, services []string) ([]kube.Workload, error) {
	all, err := l.client.Workloads(ctx, l.namespace, l.selector())
	if err != nil || len(services) == 0 {
		return all, err
	}
	var named []kube.Workload
	for _, pod := range l.pods(services) {
		of := ofService(all, pod)
		if len(of) == 0 {
			return nil, fault.New(fault.Other, "start it: perch up "+pod, "service %s: it is not up", pod)
		}
		named = append(named, of...)
	}
	return named, nil
}

func ofService(all []kube.Workload, service string) []kube.Workload {
	return slices.DeleteFunc(slices.Clone(all), func(w kube.Workload) bool {
		return w.Service != service && compose.Name(w.Service) != service
	})
}

// published are the ports of the named service, of all when it is "", that answer outside of the cluster.
func (l live) published(ctx context.Context, service string) ([]kube.PublishedPort, error) {
	all, err := l.client.PublishedPorts(ctx, l.namespace, kube.Selector(l.namespace, ""))
	if err != nil || service == "" {
		return all, err
	}
	host := l.pod(service)
	shared := len(l.others([]string{service})) > 0
	return slices.DeleteFunc(all, func(p kube.PublishedPort) bool {
		other := p.Service != host && compose.Name(p.Service) != host
		return other || shared && p.Container != "" && p.Container != compose.Name(service)
	}), nil
}
