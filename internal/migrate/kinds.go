package migrate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is an old version of a kind, and what it becomes.
type kind struct {
	from, to schema.GroupVersionKind
	// gone is the version of Kubernetes that stopped serving it; "": it is not served unless it is asked for.
	gone string
	// shape is the version whose Go type stands in for that of from, which Kubernetes no longer has; its fields are the same.
	// It is from for most.
	shape schema.GroupVersionKind
	// rewrite is a conversion of our own, on the object as it is written, where Kubernetes has none any more.
	rewrite func(object map[string]any) error
	// adapt changes what Kubernetes' conversion made where that is not valid, or not the same.
	adapt func(old, converted runtime.Object)
	// moves says where subtrees go that are renamed or repeated, new path to old path, so that they keep their comments and order.
	moves map[string]string
}

// lost is a kind that has no successor.
type lost struct {
	group, kind string
	why         string // and since when
	hint        string
}

// versions names kinds of one group and version, and the version that replaces them.
func versions(from, to, gone string, kinds ...string) []kind {
	list := make([]kind, 0, len(kinds))
	for _, name := range kinds {
		k := kind{from: gvk(from, name), to: gvk(to, name), gone: gone}
		k.shape = k.from
		list = append(list, k)
	}
	return list
}

// as says that the kinds have the fields of another version.
func as(shape string, list []kind) []kind {
	for i, k := range list {
		list[i].shape = gvk(shape, k.from.Kind)
	}
	return list
}

func gvk(version, name string) schema.GroupVersionKind {
	gv, _ := schema.ParseGroupVersion(version) // constants of ours
	return gv.WithKind(name)
}

// kinds are all old versions that are known, by apiVersion and kind. The versions that stopped serving them are those of
// https://kubernetes.io/docs/reference/using-api/deprecation-guide/ and of Kubernetes' change logs. A test holds the list
// against what an API server serves.
func kinds() map[schema.GroupVersionKind]kind {
	const (
		admission  = "admissionregistration.k8s.io/"
		certs      = "certificates.k8s.io/"
		discovery  = "discovery.k8s.io/"
		extensions = "extensions/v1beta1"
		flow       = "flowcontrol.apiserver.k8s.io/"
		net        = "networking.k8s.io/"
		node       = "node.k8s.io/"
		rbac       = "rbac.authorization.k8s.io/"
		resource   = "resource.k8s.io/"
		scheduling = "scheduling.k8s.io/"
		storage    = "storage.k8s.io/"
	)
	roles := []string{"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
	levels := []string{"FlowSchema", "PriorityLevelConfiguration"}
	claims := []string{"DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"}
	all := map[schema.GroupVersionKind]kind{}
	for _, list := range [][]kind{
		versions(extensions, "apps/v1", "1.16", "Deployment", "DaemonSet", "ReplicaSet"),
		versions(extensions, net+"v1", "1.22", "Ingress"),
		versions(extensions, net+"v1", "1.16", "NetworkPolicy"),
		versions("apps/v1beta1", "apps/v1", "1.16", "Deployment", "StatefulSet", "ControllerRevision"),
		versions("apps/v1beta2", "apps/v1", "1.16", "Deployment", "DaemonSet", "ReplicaSet", "StatefulSet", "ControllerRevision"),
		versions(net+"v1beta1", net+"v1", "1.22", "Ingress", "IngressClass"),
		versions(net+"v1beta1", net+"v1", "", "IPAddress", "ServiceCIDR"),
		versions("batch/v1beta1", "batch/v1", "1.25", "CronJob"),
		as("batch/v1beta1", versions("batch/v2alpha1", "batch/v1", "1.21", "CronJob")),
		versions("policy/v1beta1", "policy/v1", "1.25", "PodDisruptionBudget"),
		versions(rbac+"v1beta1", rbac+"v1", "1.22", roles...),
		versions(rbac+"v1alpha1", rbac+"v1", "1.22", roles...),
		oldAutoscalers(),
		versions(storage+"v1beta1", storage+"v1", "1.22", "StorageClass", "CSIDriver", "CSINode", "VolumeAttachment"),
		versions(storage+"v1beta1", storage+"v1", "1.27", "CSIStorageCapacity"),
		versions(storage+"v1beta1", storage+"v1", "", "VolumeAttributesClass"),
		versions(storage+"v1alpha1", storage+"v1", "", "VolumeAttachment", "CSIStorageCapacity", "VolumeAttributesClass"),
		versions(scheduling+"v1beta1", scheduling+"v1", "1.22", "PriorityClass"),
		as(scheduling+"v1beta1", versions(scheduling+"v1alpha1", scheduling+"v1", "1.22", "PriorityClass")),
		versions(admission+"v1beta1", admission+"v1", "1.22", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"),
		versions(admission+"v1beta1", admission+"v1", "1.34", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
		versions(admission+"v1beta1", admission+"v1", "", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
		versions(admission+"v1alpha1", admission+"v1", "", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
			"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
		oldDefinitions(),
		versions("apiregistration.k8s.io/v1beta1", "apiregistration.k8s.io/v1", "1.22", "APIService"),
		versions("coordination.k8s.io/v1beta1", "coordination.k8s.io/v1", "1.22", "Lease"),
		versions(certs+"v1beta1", certs+"v1", "1.22", "CertificateSigningRequest"),
		versions(certs+"v1beta1", certs+"v1", "", "ClusterTrustBundle"),
		versions(certs+"v1alpha1", certs+"v1", "", "ClusterTrustBundle"),
		oldSlices(discovery+"v1beta1", discovery+"v1"),
		versions("events.k8s.io/v1beta1", "events.k8s.io/v1", "1.25", "Event"),
		versions(node+"v1beta1", node+"v1", "1.25", "RuntimeClass"),
		versions(node+"v1alpha1", node+"v1", "1.22", "RuntimeClass"),
		versions(flow+"v1beta1", flow+"v1", "1.26", levels...),
		versions(flow+"v1beta2", flow+"v1", "1.29", levels...),
		versions(flow+"v1beta3", flow+"v1", "1.32", levels...),
		versions(resource+"v1beta1", resource+"v1", "", claims...),
		versions(resource+"v1beta2", resource+"v1", "", claims...),
		versions(resource+"v1beta2", resource+"v1", "", "DeviceTaintRule"),
		versions(resource+"v1alpha3", resource+"v1", "", "DeviceTaintRule"),
		versions("storagemigration.k8s.io/v1beta1", "storagemigration.k8s.io/v1", "", "StorageVersionMigration"),
	} {
		for _, k := range list {
			all[k.from] = k
		}
	}
	return all
}

// oldSlices said where an endpoint is by labels of its node. discovery.k8s.io/v1 has two fields for that, and ignores the labels.
func oldSlices(from, to string) []kind {
	list := versions(from, to, "1.25", "EndpointSlice")
	list[0].adapt = func(_, converted runtime.Object) {
		slice, ok := converted.(*discoveryv1.EndpointSlice)
		if !ok {
			return
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if node := e.DeprecatedTopology[corev1.LabelHostname]; node != "" && e.NodeName == nil {
				e.NodeName = &node
			}
			e.DeprecatedTopology = nil
		}
	}
	return list
}

// lostKinds are those that no version of Kubernetes replaces, and those of versions so old that nothing in Kubernetes still
// knows their fields. A kind of "*" is any other of the group.
func lostKinds() []lost {
	const security = "label the namespaces instead: kubectl label namespace NAME pod-security.kubernetes.io/enforce=baseline (or restricted)"
	again := func(version string) string { return "write it anew as " + version + ", then remove this one" }
	return []lost{
		{"policy/v1beta1", "PodSecurityPolicy", "Kubernetes has none since 1.25, and no other version of it", security},
		{"extensions/v1beta1", "PodSecurityPolicy", "Kubernetes has none since 1.25, and no other version of it", security},
		{"extensions/v1beta1", "ThirdPartyResource", "Kubernetes has none since 1.8", again("apiextensions.k8s.io/v1, kind CustomResourceDefinition")},
		{"extensions/v1beta1", "Job", "the group has none since 1.6", again("batch/v1")},
		{"extensions/v1beta1", "HorizontalPodAutoscaler", "the group has none since 1.6", again("autoscaling/v2")},
		{"extensions/v1beta1", "DeploymentRollback", "it is a request and no object", "kubectl rollout undo deployment/NAME does it"},
		{"apps/v1beta1", "DeploymentRollback", "it is a request and no object", "kubectl rollout undo deployment/NAME does it"},
		{"apps/v1alpha1", "PetSet", "Kubernetes has none since 1.5", again("apps/v1, kind StatefulSet")},
		{"batch/v2alpha1", "ScheduledJob", "Kubernetes has none since 1.8", again("batch/v1, kind CronJob")},
		{"settings.k8s.io/v1alpha1", "PodPreset", "Kubernetes has none since 1.20, and no other version of it", "write what it adds into the pods themselves, or use a mutating admission policy"},
		{"auditregistration.k8s.io/v1alpha1", "AuditSink", "Kubernetes has none since 1.19, and no other version of it", "configure the API server's audit policy"},
		{"extensions/v1beta1", "*", "Kubernetes serves nothing of this version since 1.22", "see the deprecation guide: kubernetes.io/docs/reference/using-api/deprecation-guide/"},
		{"apps/v1beta1", "*", "Kubernetes serves nothing of this version since 1.16", "write apps/v1"},
		{"apps/v1beta2", "*", "Kubernetes serves nothing of this version since 1.16", "write apps/v1"},
	}
}

// successor tells what becomes of a kind: nothing when it is current, or of somebody else. The error is a problem when it has
// no successor.
func successor(apiVersion, name string) (kind, bool, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return kind{}, false, nil // not ours to judge
	}
	all := kinds()
	if k, ok := all[gv.WithKind(name)]; ok {
		return k, true, nil
	}
	if _, ok := all[gv.WithKind(strings.TrimSuffix(name, "List"))]; ok {
		return kind{}, false, problems{{text: "a list of this kind is for programs", hint: "write apiVersion: v1, kind: List, and an apiVersion and a kind for each item"}}
	}
	for _, l := range lostKinds() {
		if l.group == apiVersion && (l.kind == name || l.kind == "*") {
			return kind{}, false, problems{{text: l.why, hint: l.hint}}
		}
	}
	return kind{}, false, nil
}
