package fit

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// judgeKinds looks for the kinds of the objects.
func judgeKinds(n Needs, s Seen) Findings {
	all := Findings{}
	if s.kinds == nil {
		return all
	}
	uses := slices.Clone(n.kinds)
	if n.issuer != "" {
		uses = append(uses, kindUse{schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}, "issuer " + n.issuer})
	}
	for _, k := range uses {
		if s.kinds[k.kind] {
			continue
		}
		gv := k.kind.GroupVersion().String()
		if slices.Contains(s.unsure, gv) {
			all = append(all, Finding{Level: Unknown, What: "kind " + k.kind.Kind + " of " + gv, Why: "the server of this API does not answer"})
			continue
		}
		all = append(all, Finding{
			Level: Missing, What: "kind " + k.kind.Kind + " of " + gv, Why: k.by + " is of it, and the API server has it not", Hint: kindHint(k.kind),
		})
	}
	return append(all, judgeMetrics(n, s)...)
}

// judgeMetrics looks for who measures what autoscalers go by.
func judgeMetrics(n Needs, s Seen) Findings {
	all := Findings{}
	for _, m := range n.metrics {
		there := slices.ContainsFunc(s.unsure, func(gv string) bool { return strings.HasPrefix(gv, m.name+"/") })
		for k := range s.kinds {
			there = there || k.Group == m.name
		}
		if !there {
			hint := "have an adapter for metrics installed by who runs the cluster, as that of Prometheus"
			if m.name == "metrics.k8s.io" {
				hint = "have metrics-server installed by who runs the cluster"
			}
			all = append(all, Finding{Level: Risky, What: "API group " + m.name, Why: m.by + " scales by it, and will not without", Hint: hint})
		}
	}
	return all
}

// kindHint says where kinds come from that Kubernetes does not come with, and for its own which version has them.
func kindHint(k schema.GroupVersionKind) string {
	from := map[string]string{
		"gateway.networking.k8s.io": "Gateway API (gateway-api.sigs.k8s.io)",
		"cert-manager.io":           "cert-manager (cert-manager.io)",
		"monitoring.coreos.com":     "the Prometheus operator (prometheus-operator.dev)",
	}
	if name, ok := from[k.Group]; ok {
		return fmt.Sprintf("have %s installed, or take out of the Compose file what asks for it", name)
	}
	return "see which there are: perch kubectl api-resources"
}
