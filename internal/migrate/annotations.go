package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// deadAnnotations warns of annotations that were an alpha of what has fields now, and that nothing reads any more. A * at the
// end stands for a name.
func (o object) deadAnnotations() []Warning {
	var warnings []Warning
	for _, found := range annotationsIn(o.tree, "") {
		for _, name := range slices.Sorted(maps.Keys(found.names)) {
			if field, since, ok := successorOf(name); ok {
				warnings = append(warnings, o.warning(found.path+"["+name+"]", "nothing has read it since Kubernetes "+since, "write "+field+", and remove it"))
			}
		}
	}
	return warnings
}

// successorOf is what to write instead of an annotation, and the version of Kubernetes that forgot it. From the change logs of
// those versions.
func successorOf(name string) (field, since string, ok bool) {
	for _, a := range [][3]string{
		{"scheduler.alpha.kubernetes.io/affinity", "spec.affinity of the pod", "1.8"},
		{"scheduler.alpha.kubernetes.io/tolerations", "spec.tolerations of the pod", "1.8"},
		{"scheduler.alpha.kubernetes.io/name", "spec.schedulerName of the pod", "1.6"},
		{"scheduler.alpha.kubernetes.io/critical-pod", "spec.priorityClassName: system-cluster-critical of the pod", "1.16"},
		{"pod.alpha.kubernetes.io/init-containers", "spec.initContainers of the pod", "1.8"},
		{"pod.beta.kubernetes.io/init-containers", "spec.initContainers of the pod", "1.8"},
		{"pod.alpha.kubernetes.io/initialized", "nothing", "1.8"},
		{"pod.beta.kubernetes.io/hostname", "spec.hostname of the pod", "1.7"},
		{"pod.beta.kubernetes.io/subdomain", "spec.subdomain of the pod", "1.7"},
		{"security.alpha.kubernetes.io/sysctls", "spec.securityContext.sysctls of the pod", "1.11"},
		{"security.alpha.kubernetes.io/unsafe-sysctls", "spec.securityContext.sysctls of the pod", "1.11"},
		{"seccomp.security.alpha.kubernetes.io/pod", "spec.securityContext.seccompProfile of the pod", "1.27"},
		{"container.seccomp.security.alpha.kubernetes.io/*", "securityContext.seccompProfile of the container", "1.27"},
		{"volume.alpha.kubernetes.io/storage-class", "spec.storageClassName of the claim", "1.6"},
	} {
		prefix, group := strings.CutSuffix(a[0], "*")
		if name == a[0] || group && strings.HasPrefix(name, prefix) {
			return a[1], a[2], true
		}
	}
	return "", "", false
}

// annotationSet is the annotations of an object or of a template in it.
type annotationSet struct {
	path  string // as spec.template.metadata.annotations
	names map[string]any
}

// annotationsIn finds annotations wherever an object has metadata.
func annotationsIn(v any, path string) []annotationSet {
	var found []annotationSet
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if names, ok := valueAt(v, "metadata", "annotations").(map[string]any); ok && key == "metadata" {
				found = append(found, annotationSet{at + ".annotations", names})
				continue
			}
			found = append(found, annotationsIn(v[key], at)...)
		}
	case []any:
		for i := range v {
			found = append(found, annotationsIn(v[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return found
}

// notes tells of what is left out, and of what reads otherwise than it did.
func (o object) notes() []Warning {
	var warnings []Warning
	kind := stringOf(o.tree["kind"])
	for _, f := range []struct{ kind, path, why, hint string }{
		{"Deployment", "spec.rollbackTo", "it asked for one rollback; it is left out", "kubectl rollout undo deployment/NAME does it"},
		{"DaemonSet", "spec.templateGeneration", "the cluster counts by itself; it is left out", ""},
		{kind, "status", "the cluster writes it; it is left out", ""},
	} {
		if kind == f.kind && valueAt(o.tree, strings.Split(f.path, ".")...) != nil {
			warnings = append(warnings, o.warning(f.path, f.why, f.hint))
		}
	}
	if selector, ok := valueAt(o.tree, "spec", "selector").(map[string]any); ok && len(selector) == 0 && kind == "PodDisruptionBudget" {
		warnings = append(warnings, o.warning("spec.selector", "empty it chose no pod, and so it is kept; empty it would choose all of them now", "write selector: {} when all are meant"))
	}
	endpoints, _ := o.tree["endpoints"].([]any)
	for i, e := range endpoints {
		e, _ := e.(map[string]any)
		topology, _ := e["topology"].(map[string]any)
		for _, label := range slices.Sorted(maps.Keys(topology)) {
			if label != "kubernetes.io/hostname" && label != "topology.kubernetes.io/zone" {
				warnings = append(warnings, o.warning(fmt.Sprintf("endpoints[%d].topology[%s]", i, label), "discovery.k8s.io/v1 knows only node and zone; it is left out", ""))
			}
		}
	}
	return warnings
}

// leftOut tells of fields that nothing takes the place of.
func leftOut(path string) bool {
	return slices.Contains([]string{"spec.rollbackTo", "spec.templateGeneration", "status"}, path)
}
