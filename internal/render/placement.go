package render

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// place says on which nodes the pods go: apart from each other where there is more than one, and as placement has it.
// docker compose up pays no heed to placement, so on Perch's own node, the only one, constraints are wishes.
func (w workload) place(s *corev1.PodSpec) {
	affinity := &corev1.Affinity{}
	if w.service.Deploy != nil {
		affinity.NodeAffinity = w.nodeAffinity(w.service.Deploy.Placement.Constraints)
	}
	s.TopologySpreadConstraints = w.spreads()
	affinity.PodAntiAffinity = w.apart()
	if affinity.NodeAffinity != nil || affinity.PodAntiAffinity != nil {
		s.Affinity = affinity
	}
}

// spreads are what the pods are spread over, each once: what x-perch.spread says, what placement says, and by itself, on a
// cluster of several nodes, zones and nodes where there is more than one pod.
func (w workload) spreads() []corev1.TopologySpreadConstraint {
	var all []corev1.TopologySpreadConstraint
	add := func(key string, mode compose.SpreadMode) {
		if mode == compose.SpreadNot || slices.ContainsFunc(all, func(c corev1.TopologySpreadConstraint) bool { return c.TopologyKey == key }) {
			return
		}
		all = append(all, w.spread(key, mode))
	}
	own := []struct {
		key  string
		mode compose.SpreadMode
	}{{corev1.LabelTopologyZone, w.extension.Spread.Zones}, {corev1.LabelHostname, w.extension.Spread.Nodes}}
	for _, one := range own {
		if one.mode != compose.SpreadDefault {
			add(one.key, one.mode)
		}
	}
	if w.service.Deploy != nil {
		p := w.service.Deploy.Placement
		for _, one := range p.Preferences {
			if key := compose.SpreadLabel(one.Spread); key != "" {
				add(key, compose.SpreadWish)
			}
		}
		if p.MaxReplicas > 1 {
			add(corev1.LabelHostname, compose.SpreadWish)
		}
	}
	for _, one := range own {
		if one.mode == compose.SpreadDefault && w.spreadsByItself() {
			add(one.key, compose.SpreadWish)
		}
	}
	return all
}

// spreadsByItself tells whether pods are kept apart without a word of the file. Those that share a claim, which is on one node at a
// time, must not be.
func (w workload) spreadsByItself() bool {
	return !w.target.Embedded && w.most() >= 2 && w.kind() == deployment && !slices.ContainsFunc(w.parts(), workload.keepsData)
}

// spread is one constraint. On Perch's own node, the only one, it is never more than a wish.
func (w workload) spread(key string, mode compose.SpreadMode) corev1.TopologySpreadConstraint {
	c := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
	}
	if mode == compose.SpreadRequired && !w.target.Embedded {
		c.WhenUnsatisfiable = corev1.DoNotSchedule
		if w.kind() == deployment {
			c.MatchLabelKeys = []string{appsv1.DefaultDeploymentUniqueLabelKey} // else the old pods of a rollout are in the way
		}
	}
	return c
}

// apart keeps the pods of one service on different nodes: where that can be, or always with max_replicas_per_node: 1. Pods
// that share a claim, which is on one node at a time, must not be kept apart.
func (w workload) apart() *corev1.PodAntiAffinity {
	alone := w.service.Deploy != nil && w.service.Deploy.Placement.MaxReplicas == 1
	if w.kind() != deployment || (w.most() < 2 && !alone) {
		return nil
	}
	shared := !w.target.Embedded && slices.ContainsFunc(w.parts(), workload.keepsData)
	if !alone && (shared || w.spreadsByItself() || w.extension.Spread.Nodes != compose.SpreadDefault) {
		return nil // they must not be, or spreads says it
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
