package release

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// downtime says why a service does not answer for a moment while a step is done, "" when it answers all the time, as far as
// its objects tell: what is installed, what replaces it, and what must be deleted first.
func downtime(u *Unit, in Installed, replace []Ref, again bool) string {
	before, least := documents(in.Manifest), floors(u.Objects)
	var reasons []string
	for _, ref := range replace {
		if ref.Kind != "Job" {
			reasons = append(reasons, strings.ToLower(ref.Kind)+" "+ref.Name+" is made anew")
		}
	}
	for _, o := range u.Objects {
		ref, now, err := tree(o)
		if err != nil || slices.Contains(replace, ref) {
			continue
		}
		switch old := before[ref]; {
		case old == nil:
			reasons = append(reasons, otherKind(ref, before)...)
		case again || changes(field(old, "spec.template"), field(now, "spec.template")):
			reasons = append(reasons, gap(o, ref, least)...)
		case field(old, "spec.replicas") != nil && fmt.Sprint(field(now, "spec.replicas")) == "0":
			reasons = append(reasons, "it is scaled to none")
		}
	}
	if (u.Foreign == "") != (in.Foreign == "") {
		reasons = append(reasons, "its pods go as those of the other kind come")
	}
	return strings.Join(reasons, ", ")
}

// otherKind tells that a workload takes the place of one of another kind: that one goes first.
func otherKind(ref Ref, before map[Ref]map[string]any) []string {
	for old := range before {
		if old.Name == ref.Name && old.Kind != ref.Kind && isWorkload(old.Kind) && isWorkload(ref.Kind) {
			return []string{fmt.Sprintf("the %s becomes a %s", strings.ToLower(old.Kind), strings.ToLower(ref.Kind))}
		}
	}
	return nil
}

func isWorkload(kind string) bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "Job"}, kind)
}

// gap tells whether rolling a workload leaves no pod for a moment.
func gap(o runtime.Object, ref Ref, least map[Ref]int32) []string {
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		if podsOf(ref, o.Spec.Replicas, least) == 1 {
			return []string{"its one pod is stopped before the next one starts, since both would write to its volume (update_config.order: start-first allows it)"}
		}
	case *appsv1.DaemonSet:
		return []string{"the pod of a node is stopped before the next one starts"}
	case *appsv1.Deployment:
		if o.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			return []string{"all pods are stopped before new ones start"}
		}
		if r := o.Spec.Strategy.RollingUpdate; r != nil && r.MaxUnavailable != nil {
			pods := int(podsOf(ref, o.Spec.Replicas, least))
			missing, err := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, pods, false)
			if err == nil && missing >= pods && missing > 0 {
				return []string{"all its pods are stopped before new ones start: update_config.order is stop-first"}
			}
		}
	}
	return nil
}

// changes tells whether two trees differ, but for what is empty.
func changes(old, now any) bool {
	differs := false
	walk(Ref{}, nil, old, now, func(string) { differs = true })
	return differs || configNames(old) != configNames(now)
}

// configNames are the names of the config objects that a pod template reads its variables from: walk passes them over.
func configNames(template any) string {
	containers, _ := field(asMap(template), "spec.containers").([]any)
	var names []string
	for _, c := range containers {
		names = append(names, fmt.Sprint(asMap(c)["envFrom"]))
	}
	return strings.Join(names, " ")
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
