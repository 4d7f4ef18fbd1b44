package up

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// fetchCharts gets the charts of the services that are one, before anything is changed.
func (o *Options) fetchCharts(ctx context.Context, project *compose.Project) error {
	o.charts = map[string]chart.Chart{}
	for _, name := range project.ServiceNames() {
		c := project.Services[name].Chart
		if c == nil {
			continue
		}
		source := release.Source{Repo: c.Repo, Name: c.Name, OCI: c.OCI, Version: c.Version, Path: c.Path}
		fetched, err := release.Fetch(ctx, source, o.ChartCache)
		if err != nil {
			return fmt.Errorf("service %q: %w", name, err)
		}
		o.charts[name] = fetched
	}
	return nil
}

// foreign is a service as its chart makes it. client may be nil, when the cluster does not run.
func (o Options) foreign(client *kube.Client, project *compose.Project, u render.Unit) (release.Unit, kube.Security, error) {
	unit, hooks, err := release.Foreign{
		Service: u.Service, Release: u.Release, Namespace: namespaceOf(o, project), Chart: o.charts[u.Service],
		Values: u.Chart.Values, Names: u.Names, Answers: u.Chart.Service,
	}.Unit(client)
	if e, ok := errors.AsType[*release.ValuesError](err); ok {
		return unit, kube.Security{}, valueProblems(project, u.Service, e)
	}
	if err != nil {
		return unit, kube.Security{}, fmt.Errorf("service %q: %w", u.Service, err)
	}
	s, err := kube.SecurityOf(slices.Concat(unit.Objects, hooks))
	s.Because = "services." + u.Service + ".x-perch.chart"
	return unit, s, err
}

// valueProblems are values that a chart does not take, where they stand in the Compose file.
func valueProblems(project *compose.Project, service string, e *release.ValuesError) error {
	var all compose.Problems
	for _, f := range e.Faults {
		path := append([]string{"services", service, "x-perch", "chart", "values"}, f.Path...)
		what := "values"
		if len(f.Path) > 0 {
			what = "value " + strings.Join(f.Path, ".")
		}
		all = append(all, project.Problem(fmt.Sprintf("service %q: chart %s does not take the %s: %s", service, e.Chart, what, f.Text),
			"see what it takes: perch helm show values", path...))
	}
	return all
}

// checkSecrets sees that the Secrets which services that are provided name are there, with the keys that are read. Who may not
// look at them goes on without.
func checkSecrets(ctx context.Context, client *kube.Client, project *compose.Project, namespace string) error {
	for _, name := range project.ServiceNames() {
		p := project.Services[name].Provided
		if p == nil || p.Secret == "" {
			continue
		}
		keys := project.KeysOf(p.Secret)
		found, err := client.Interface.CoreV1().Secrets(namespace).Get(ctx, p.Secret, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			continue
		case apierrors.IsNotFound(err):
			return fault.New(fault.Other, fmt.Sprintf("make it: perch kubectl create secret generic %s -n %s --from-literal=%s=...", p.Secret, namespace, first(keys, "KEY")),
				"service %q: the Secret %s, which says where it is provided, is not in namespace %s", name, p.Secret, namespace)
		case err != nil:
			return client.Explain(fmt.Errorf("secret %s: %w", p.Secret, err))
		}
		missing := slices.DeleteFunc(keys, func(key string) bool { _, there := found.Data[key]; return there })
		if len(missing) > 0 {
			return fault.New(fault.Other, "say which keys it has with x-perch.provided.keys, or add them to it",
				"service %q: the Secret %s in namespace %s has no key %s", name, p.Secret, namespace, strings.Join(missing, ", "))
		}
	}
	return nil
}

func first(names []string, other string) string {
	if len(names) == 0 {
		return other
	}
	return names[0]
}

// selectorOf lets the pods of one service through.
func selectorOf(project *compose.Project, namespace, service string) string {
	if project.Services[service].Chart != nil {
		return kube.InstanceLabel + "=" + project.Release(service)
	}
	return kube.Selector(namespace, compose.Name(compose.PodOf(project.Project, service)))
}
