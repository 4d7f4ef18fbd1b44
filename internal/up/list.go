package up

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/release"
)

// Listed is a project of a cluster.
type Listed struct {
	Name      string         `json:"name"`
	Namespace string         `json:"namespace"`
	Status    string         `json:"status"`   // its pods by state, as "exited(1), running(2)"; "none" without a pod
	Running   int            `json:"running"`  // pods
	Services  []string       `json:"services"` // that are deployed, sorted
	Pods      map[string]int `json:"pods"`     // how many are in each state
}

// List is the projects of the cluster that have a release, sorted by name and namespace.
func List(ctx context.Context, o Options) ([]Listed, error) {
	client, err := kube.Load(o.Kube)
	if err != nil {
		return nil, err
	}
	releases, err := release.List(ctx, client, "")
	if err != nil {
		return nil, err
	}
	all := []Listed{}
	for _, one := range releases { // sorted by namespace
		if one.Project == "" || one.Service == "" {
			continue
		}
		if n := len(all); n == 0 || all[n-1].Namespace != one.Namespace || all[n-1].Name != one.Project {
			all = append(all, Listed{Name: one.Project, Namespace: one.Namespace})
		}
		last := &all[len(all)-1]
		last.Services = append(last.Services, one.Service)
	}
	for i := range all {
		if err := all[i].count(ctx, client); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// count looks at the pods of the project.
func (l *Listed) count(ctx context.Context, client *kube.Client) error {
	pods, err := client.Pods(ctx, l.Namespace, kube.Selector(l.Namespace, "")+",!"+kube.ComponentLabel)
	if err != nil {
		return err
	}
	l.Pods = map[string]int{}
	for _, p := range pods {
		state := strings.ToLower(p.State)
		if state == "succeeded" || state == "completed" {
			state = "exited"
		}
		l.Pods[state]++
	}
	l.Running = l.Pods["running"]
	var states []string
	for state, n := range l.Pods {
		states = append(states, fmt.Sprintf("%s(%d)", state, n))
	}
	slices.Sort(states)
	l.Status = strings.Join(states, ", ")
	if l.Status == "" {
		l.Status = "none"
	}
	return nil
}
