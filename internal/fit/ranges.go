package fit

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// filled is the pod of a template with what API server and limit ranges put in for what its containers do not say.
func filled(template *corev1.PodTemplateSpec, ranges []corev1.LimitRange) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: *template.Spec.DeepCopy()}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			r := &list[i].Resources
			r.Requests, r.Limits = orMade(r.Requests), orMade(r.Limits)
			putIn(r.Requests, r.Limits) // a limit is a request where none is said
			for _, one := range limitsOf(ranges, corev1.LimitTypeContainer) {
				putIn(r.Limits, one.Default)
				putIn(r.Requests, one.DefaultRequest)
			}
			putIn(r.Requests, r.Limits)
		}
	}
	return pod
}

func orMade(l corev1.ResourceList) corev1.ResourceList {
	if l == nil {
		return corev1.ResourceList{}
	}
	return l
}

// putIn adds what is not said.
func putIn(to, from corev1.ResourceList) {
	for name, q := range from {
		if _, said := to[name]; !said {
			to[name] = q
		}
	}
}

func limitsOf(ranges []corev1.LimitRange, kind corev1.LimitType) []corev1.LimitRangeItem {
	var all []corev1.LimitRangeItem
	for _, r := range ranges {
		for _, one := range r.Spec.Limits {
			if one.Type == kind {
				all = append(all, one)
			}
		}
	}
	return all
}

// judgeRanges holds containers and volumes against the namespace's limit ranges.
func judgeRanges(n Needs, s Seen) Findings {
	all := Findings{}
	for _, p := range n.pods {
		pod := filled(p.template, s.ranges)
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			for _, one := range limitsOf(s.ranges, corev1.LimitTypeContainer) {
				by := fmt.Sprintf("%s, container %s", p.by, c.Name)
				all = append(all, outside(by, "limit", c.Resources.Limits, nil, one.Max)...)
				all = append(all, outside(by, "request", c.Resources.Requests, one.Min, one.Max)...)
			}
		}
	}
	for _, c := range n.claims {
		for _, one := range limitsOf(s.ranges, corev1.LimitTypePersistentVolumeClaim) {
			if !c.made(s) {
				all = append(all, outside(c.by, "size", c.size, one.Min, one.Max)...)
			}
		}
	}
	return all
}

// outside names what is less or more than may be.
func outside(by, what string, have, low, high corev1.ResourceList) Findings {
	all := Findings{}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		q := have[name]
		over, under := exceeds(q, high, name), false
		if least, ok := low[name]; ok {
			under = q.Cmp(least) < 0
		}
		if !over && !under {
			continue
		}
		bound, side := high[name], "most"
		if under {
			bound, side = low[name], "least"
		}
		all = append(all, Finding{
			Level: Missing, What: fmt.Sprintf("%s of %s for %s", what, name, by), Why: fmt.Sprintf("it is %s, and the namespace's limit range has %s as the %s", q.String(), bound.String(), side),
			Hint: "change deploy.resources in the Compose file, or have the limit range changed: perch kubectl get limitranges -o yaml",
		})
	}
	return all
}

func exceeds(q resource.Quantity, high corev1.ResourceList, name corev1.ResourceName) bool {
	most, ok := high[name]
	return ok && q.Cmp(most) > 0
}
