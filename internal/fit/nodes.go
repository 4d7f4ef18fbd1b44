package fit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// judgeNodes looks for nodes on which the pods of each workload can run: of an architecture that its images are for, and with
// the labels that it asks for.
func judgeNodes(n Needs, s Seen) Findings {
	all := Findings{}
	known := slices.ContainsFunc(n.pods, func(p pods) bool { return len(p.platforms) > 0 })
	if s.nodes == nil && known {
		return Findings{{Level: Unknown, What: "architecture of the nodes", Why: "this account may not list nodes"}}
	}
	if len(s.nodes) == 0 {
		return all
	}
	for _, p := range n.pods {
		if p.kind == "DaemonSet" && !slices.ContainsFunc(s.nodes, func(n corev1.Node) bool { return takes(&n, p.template.Spec.Tolerations) }) {
			continue // it has as many pods as there are nodes for it
		}
		if f, ok := s.nodeFor(p); ok {
			all = append(all, f)
		}
	}
	return all
}

func (s Seen) nodeFor(p pods) (Finding, bool) {
	pod := &corev1.Pod{ObjectMeta: p.template.ObjectMeta, Spec: p.template.Spec}
	affinity := nodeaffinity.GetRequiredNodeAffinity(pod)
	var open, fitting []corev1.Node
	for i := range s.nodes {
		if !takes(&s.nodes[i], p.template.Spec.Tolerations) {
			continue
		}
		open = append(open, s.nodes[i])
		if ok, err := affinity.Match(&s.nodes[i]); ok || err != nil {
			fitting = append(fitting, s.nodes[i])
		}
	}
	switch {
	case len(open) == 0:
		return Finding{Level: Risky, What: "a node for " + p.by, Why: fmt.Sprintf("none of %d takes it: they are cordoned or tainted", len(s.nodes)), Hint: "see why: perch kubectl describe nodes"}, true
	case len(fitting) == 0:
		return Finding{
			Level: Risky, What: "a node for " + p.by, Why: fmt.Sprintf("none of %d has the labels that it asks for", len(open)),
			Hint: "see theirs: perch kubectl get nodes --show-labels; or change deploy.placement in the Compose file",
		}, true
	}
	return archFor(p, fitting)
}

// takes tells whether a node takes new pods with these tolerations. One that is not ready may be so in a moment.
func takes(n *corev1.Node, tolerations []corev1.Toleration) bool {
	taints := slices.Clone(n.Spec.Taints)
	if n.Spec.Unschedulable {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	_, refused := schedulingv1.FindMatchingUntoleratedTaint(klog.Background(), taints, tolerations, func(t *corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule && t.Key != corev1.TaintNodeNotReady
	}, false)
	return !refused
}

// archFor compares the platforms of the images with those of the nodes.
func archFor(p pods, nodes []corev1.Node) (Finding, bool) {
	have := map[string]int{}
	for _, node := range nodes {
		have[platformOf(node)]++
	}
	list := slices.Sorted(maps.Keys(have))
	for _, image := range slices.Sorted(maps.Keys(p.platforms)) {
		of := p.platforms[image]
		var out []string
		for _, platform := range list {
			if !slices.ContainsFunc(of, func(one string) bool { return sameArch(one, platform) }) {
				out = append(out, platform)
			}
		}
		if len(out) == 0 {
			continue
		}
		hint := "build it for them: perch up --platform " + strings.Join(list, ",")
		if len(out) == len(list) {
			return Finding{
				Level: Missing, What: "a node for image " + image, Why: fmt.Sprintf("it is for %s, and the nodes that %s may run on are %s", strings.Join(of, ", "), p.by, strings.Join(list, ", ")),
				Hint: hint,
			}, true
		}
		lost := 0
		for _, platform := range out {
			lost += have[platform]
		}
		return Finding{
			Level: Risky, What: "image " + image, Why: fmt.Sprintf("it is for %s, and %d of the %d nodes that %s may run on are %s", strings.Join(of, ", "), lost, len(nodes), p.by, strings.Join(out, ", ")),
			Hint: hint,
		}, true
	}
	return Finding{}, false
}

func platformOf(n corev1.Node) string {
	return cmp.Or(n.Status.NodeInfo.OperatingSystem, n.Labels[corev1.LabelOSStable], "linux") + "/" +
		cmp.Or(n.Status.NodeInfo.Architecture, n.Labels[corev1.LabelArchStable])
}

// sameArch compares without the variant: linux/arm64/v8 runs on a node that says linux/arm64.
func sameArch(a, b string) bool {
	trim := func(s string) string { return strings.Join(strings.SplitN(s+"//", "/", 3)[:2], "/") }
	return trim(a) == trim(b)
}
