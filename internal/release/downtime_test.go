package release

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestDowntime(t *testing.T) {
	t.Parallel()
	stateful := func(image string, replicas int32) runtime.Object {
		d := deployment("db", image, replicas)
		return &appsv1.StatefulSet{
			TypeMeta: metav1.TypeMeta{Kind: "StatefulSet", APIVersion: "apps/v1"}, ObjectMeta: d.ObjectMeta,
			Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Template: d.Spec.Template},
		}
	}
	stopFirst := func(image string, replicas int32) runtime.Object {
		d := deployment("db", image, replicas)
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(1))}
		return d
	}
	recreate := func(image string) runtime.Object {
		d := deployment("db", image, 3)
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
		return d
	}
	configured := stopFirst("db:1", 1).(*appsv1.Deployment)
	configured.Spec.Template = deployment("db", "db:1", 1, "db-env-2").Spec.Template
	tests := map[string]struct {
		before, after runtime.Object
		replace       []Ref
		again         bool
		want          string // a part of it; "" is none
	}{
		"a rolling update":               {before: deployment("db", "db:1", 1), after: deployment("db", "db:2", 1)},
		"nothing changes":                {before: stateful("db:1", 1), after: stateful("db:1", 1)},
		"replicas only":                  {before: stateful("db:1", 1), after: stateful("db:1", 2)},
		"to none":                        {before: deployment("db", "db:1", 1), after: deployment("db", "db:1", 0), want: "scaled to none"},
		"one with a volume":              {before: stateful("db:1", 1), after: stateful("db:2", 1), want: "its one pod is stopped"},
		"two with a volume":              {before: stateful("db:1", 2), after: stateful("db:2", 2)},
		"one with a volume, asked for":   {before: stateful("db:1", 1), after: stateful("db:1", 1), again: true, want: "its one pod is stopped"},
		"a config edit":                  {before: stopFirst("db:1", 1), after: configured, want: "stop-first"},
		"stop-first, one replica":        {before: stopFirst("db:1", 1), after: stopFirst("db:2", 1), want: "stop-first"},
		"stop-first, three replicas":     {before: stopFirst("db:1", 3), after: stopFirst("db:2", 3)},
		"recreate":                       {before: recreate("db:1"), after: recreate("db:2"), want: "all pods are stopped"},
		"another kind":                   {before: deployment("db", "db:1", 1), after: stateful("db:1", 1), want: "the deployment becomes a statefulset"},
		"an object that must be deleted": {before: service("db"), after: service("db"), replace: []Ref{{"Service", "db"}}, want: "service db is made anew"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Observed{Releases: map[string]Installed{}, Workloads: map[Ref]Workload{}}
			old := unit(t, "db", tt.before)
			install(t, &o, old, "deployed")
			u := unit(t, "db", tt.after)
			got := downtime(&u, o.Releases[u.Release], tt.replace, tt.again)
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("downtime %q, want %q", got, tt.want)
			}
		})
	}
}
