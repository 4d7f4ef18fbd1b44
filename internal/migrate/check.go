package migrate

import (
	"context"
	"fmt"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	_ "k8s.io/kubernetes/pkg/controlplane" // for the groups it installs into that scheme
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
)

// schemeOf has the types, defaults and conversions of a group.
func schemeOf(group string) *runtime.Scheme {
	switch group {
	case "apiextensions.k8s.io":
		s := runtime.NewScheme()
		apiextensions.Install(s)
		return s
	case "apiregistration.k8s.io":
		s := runtime.NewScheme()
		apiregistration.Install(s)
		return s
	}
	return legacyscheme.Scheme
}

// strategyOf is how the API server checks a new object of a kind; nil for kinds that nobody keeps in files.
func strategyOf(k schema.GroupVersionKind) rest.RESTCreateStrategy {
	switch k.Kind {
	case "APIService":
		return apiservice.NewStrategy(schemeOf(k.Group))
	case "CustomResourceDefinition":
		return customresourcedefinition.NewStrategy(schemeOf(k.Group))
	}
	return map[string]rest.RESTCreateStrategy{
		"CSIDriver":                      csidriver.Strategy,
		"CSINode":                        csinode.Strategy,
		"CSIStorageCapacity":             csistoragecapacity.Strategy,
		"CertificateSigningRequest":      certificates.Strategy,
		"ClusterRole":                    clusterrole.Strategy,
		"ClusterRoleBinding":             clusterrolebinding.Strategy,
		"ControllerRevision":             controllerrevision.Strategy,
		"CronJob":                        cronjob.Strategy,
		"DaemonSet":                      daemonset.Strategy,
		"Deployment":                     deployment.Strategy,
		"EndpointSlice":                  endpointslice.Strategy,
		"FlowSchema":                     flowschema.Strategy,
		"HorizontalPodAutoscaler":        horizontalpodautoscaler.Strategy,
		"Ingress":                        ingress.Strategy,
		"IngressClass":                   ingressclass.Strategy,
		"Lease":                          lease.Strategy,
		"MutatingWebhookConfiguration":   mutatingwebhookconfiguration.Strategy,
		"NetworkPolicy":                  networkpolicy.Strategy,
		"PodDisruptionBudget":            poddisruptionbudget.Strategy,
		"PriorityClass":                  priorityclass.Strategy,
		"PriorityLevelConfiguration":     prioritylevelconfiguration.Strategy,
		"ReplicaSet":                     replicaset.Strategy,
		"Role":                           role.Strategy,
		"RoleBinding":                    rolebinding.Strategy,
		"RuntimeClass":                   runtimeclass.Strategy,
		"StatefulSet":                    statefulset.Strategy,
		"StorageClass":                   storageclass.Strategy,
		"ValidatingWebhookConfiguration": validatingwebhookconfiguration.Strategy,
		"VolumeAttachment":               volumeattachment.Strategy,
	}[k.Kind]
}

// check asks what the API server would say of a new object, which has its defaults: warnings, and an error that is a problem for
// each field that it would refuse.
func check(k schema.GroupVersionKind, o runtime.Object) (warnings []string, err error) {
	strategy := strategyOf(k)
	if strategy == nil {
		return nil, nil
	}
	s := schemeOf(k.Group)
	internal, err := s.ConvertToVersion(o, schema.GroupVersion{Group: k.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, err
	}
	internal = internal.DeepCopyObject()
	m, err := meta.Accessor(internal)
	if err != nil {
		return nil, err
	}
	if strategy.NamespaceScoped() && m.GetNamespace() == "" {
		m.SetNamespace(metav1.NamespaceDefault) // kubectl knows which; no check depends on it
	}
	capabilities.Setup(true, 0) // privileged containers are for the cluster to allow, as most do
	rest.FillObjectMetaSystemFields(m)
	ctx := request.WithRequestInfo(request.WithNamespace(context.Background(), m.GetNamespace()),
		&request.RequestInfo{IsResourceRequest: true, Verb: "create", APIGroup: k.Group, APIVersion: k.Version})
	if err := rest.BeforeCreate(strategy, ctx, internal); err != nil {
		return nil, refused(err)
	}
	return strategy.WarningsOnCreate(ctx, internal), nil
}

// refused makes problems of the API server's error.
func refused(err error) error {
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // it comes straight from the strategy
	if !ok || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return err
	}
	var all problems
	for _, c := range status.Status().Details.Causes {
		all = append(all, problem{path: c.Field, text: fmt.Sprintf("Kubernetes refuses it: %s", lowered(c.Message)), hint: hintFor(c.Field)})
	}
	return all
}

func lowered(text string) string {
	if text == "" {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}

// hintFor says what to write into fields that the new version wants and that nobody can answer for the author.
func hintFor(field string) string {
	last := field[strings.LastIndex(field, ".")+1:]
	switch {
	case last == "sideEffects":
		return "None when the webhook changes nothing but the object; NoneOnDryRun when it heeds dryRun"
	case last == "signerName":
		return "name who is to sign, as kubernetes.io/kube-apiserver-client: kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests"
	case field == "spec.selector":
		return "add spec.selector.matchLabels with those labels of the template that never change"
	case strings.Contains(field, "openAPIV3Schema"):
		return "since apiextensions.k8s.io/v1 a schema must be structural: kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema"
	}
	return "mend it by hand, and run this again"
}
