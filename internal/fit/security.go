package fit

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/kube"
)

// judgeSecurity holds the pods against the level of Pod Security that the namespace enforces. A level that is Perch's own gives
// way, if this account may change it; a namespace that is not there will be made with one that fits.
func judgeSecurity(n Needs, s Seen) Findings {
	if s.absent || len(n.pods) == 0 {
		return nil
	}
	if s.namespace == nil {
		return Findings{{Level: Unknown, What: "Pod Security of namespace " + n.Namespace, Why: "this account may not look at the namespace"}}
	}
	level, version := kube.Enforced(s.namespace)
	_, set, own := kube.OwnSecurity(s.namespace)
	if own && !s.denied[right{"patch", "", "namespaces"}] {
		return nil
	}
	if own && !set {
		return Findings{{
			Level: Risky, What: "Pod Security of namespace " + n.Namespace, Why: "nothing is enforced there, and this account may not change that",
			Hint: fmt.Sprintf("kubectl label namespace %s pod-security.kubernetes.io/enforce=baseline", n.Namespace),
		}}
	}
	all := Findings{}
	for _, p := range n.pods {
		if f, ok := refused(p, n.Namespace, level, version); ok {
			all = append(all, f)
		}
	}
	return all
}

func refused(p pods, namespace, level, version string) (Finding, bool) {
	reason, err := kube.RefusedAt(level, version, p.object)
	if err != nil {
		return Finding{Level: Unknown, What: "Pod Security of namespace " + namespace, Why: err.Error()}, true
	}
	return Finding{
		Level: Missing, What: fmt.Sprintf("Pod Security for %s: namespace %s enforces %s", p.by, namespace, level), Why: reason,
		Hint: fmt.Sprintf("change what asks for it in the Compose file, or have the namespace let it in: kubectl label --overwrite namespace %s pod-security.kubernetes.io/enforce=%s",
			namespace, enough(p.object)),
	}, reason != ""
}

// enough is the strictest level that takes the pods of a workload.
func enough(o runtime.Object) string {
	for _, level := range []string{"restricted", "baseline"} {
		if reason, err := kube.RefusedAt(level, "", o); err == nil && reason == "" {
			return level
		}
	}
	return "privileged"
}
