package render

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// place says on which nodes the pods go: apart from each other where there is more than one, and as placement has it.
// docker compose up pays no heed to placement, so on Perch's own node, the only one, constraints are wishes.
func (w workload) place(s *corev1.PodSpec) {
	affinity := &corev1.Affinity{}
	if w.service.Deploy != nil {
		p := w.service.Deploy.Placement
		affinity.NodeAffinity = w.nodeAffinity(p.Constraints)
		for _, one := range p.Preferences {
			if key := compose.SpreadLabel(one.Spread); key != "" {
				s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, w.spread(key, 1, corev1.ScheduleAnyway))
			}
		}
		if p.MaxReplicas > 1 {
			s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, w.spread(corev1.LabelHostname, 1, corev1.ScheduleAnyway))
		}
	}
	affinity.PodAntiAffinity = w.apart()
	if affinity.NodeAffinity != nil || affinity.PodAntiAffinity != nil {
		s.Affinity = affinity
	}
}

func (w workload) spread(key string, skew int32, otherwise corev1.UnsatisfiableConstraintAction) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: otherwise,
		LabelSelector: &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
	}
}

// apart keeps the pods of one service on different nodes: where that can be, or always with max_replicas_per_node: 1. Pods
// that share a claim, which is on one node at a time, must not be kept apart.
func (w workload) apart() *corev1.PodAntiAffinity {
	alone := w.service.Deploy != nil && w.service.Deploy.Placement.MaxReplicas == 1
	if w.kind() != deployment || (w.replicas() < 2 && !alone) {
		return nil
	}
	term := corev1.PodAffinityTerm{
		LabelSelector: &metav1.LabelSelector{MatchLabels: w.selector(w.name)}, TopologyKey: corev1.LabelHostname,
	}
	if alone && !w.target.Embedded {
		return &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}
	}
	return &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: term}},
	}
}

func (w workload) nodeAffinity(constraints []string) *corev1.NodeAffinity {
	var all []corev1.NodeSelectorRequirement
	for _, text := range constraints {
		if r, ok := constraint(text); ok {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil
	}
	term := corev1.NodeSelectorTerm{MatchExpressions: all}
	if w.target.Embedded {
		return &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: term}},
		}
	}
	return &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
	}
}

// constraint is one condition on the labels of a node. What has no label in Kubernetes is not carried; package compose says
// so.
func constraint(text string) (corev1.NodeSelectorRequirement, bool) {
	c, err := compose.ParseConstraint(text)
	r := corev1.NodeSelectorRequirement{Key: c.Label, Operator: corev1.NodeSelectorOpIn, Values: []string{c.Value}}
	switch {
	case err != nil:
		return r, false
	case c.Value == "" && c.Not:
		r.Operator, r.Values = corev1.NodeSelectorOpDoesNotExist, nil
	case c.Value == "":
		r.Operator, r.Values = corev1.NodeSelectorOpExists, nil
	case c.Not:
		r.Operator = corev1.NodeSelectorOpNotIn
	}
	return r, true
}
