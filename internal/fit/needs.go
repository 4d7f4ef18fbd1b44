package fit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/perch-k8s/perch/internal/kube"
)

// Wanted is what is to be applied.
type Wanted struct {
	Project   string // its name, for people
	Namespace string
	Objects   []runtime.Object // all of them: volumes, config, migrations, what the releases hold, pull secrets. They are not changed

	Platforms map[string][]string // of images, by the names that pods have: "linux/amd64", "linux/arm64". One that is not named is not known
	Gateway   string              // NAMESPACE/NAME of the Gateway that routes go through; "" for none
	Issuer    string              // of cert-manager: NAME of a ClusterIssuer, NAMESPACE/NAME of an Issuer; "" for none
}

// Needs are what a project needs of a cluster. Of makes them.
type Needs struct {
	Project   string
	Namespace string

	rights   []Permission // in the namespace
	more     []Permission // that follow from more than the kind of an object
	kinds    []kindUse
	metrics  []use // groups of the API that measure
	features []featureUse
	claims   []claim
	classes  []use // names of IngressClasses; "" is the default one
	balanced []string
	issuer   string
	gateway  string
	priority []use
	names    []nameUse // Secrets and other objects that are read and not made
	pods     []pods
}

// Permissions are those that the project needs in its namespace.
func (n Needs) Permissions() []Permission { return slices.Clone(n.rights) }

// use is a name and the object that has it, as "deployment web".
type use struct{ name, by string }

// kindUse is a kind of object and the first that is of it.
type kindUse struct {
	kind schema.GroupVersionKind
	by   string
}

// nameUse is an object in the namespace that must be there.
type nameUse struct{ resource, name, by string }

// claim is a PersistentVolumeClaim that is to be made.
type claim struct {
	by    string
	name  string // as it will be in the cluster; "" for one of many that a StatefulSet makes
	class *string
	size  corev1.ResourceList
	count int64
}

// pods are those of one workload.
type pods struct {
	by        string
	kind      string
	name      string
	object    runtime.Object
	template  *corev1.PodTemplateSpec
	platforms map[string][]string // of its images that are known, by image
}

// Of reads what the objects need. An error names an object of an unknown type.
func Of(w Wanted) (Needs, error) {
	n := Needs{Project: w.Project, Namespace: w.Namespace, issuer: w.Issuer, gateway: w.Gateway}
	made := map[string]bool{} // "RESOURCE NAME"
	for _, o := range w.Objects {
		gvk, err := kube.KindOf(o)
		if err != nil {
			return n, err
		}
		made[resourceOf(gvk).Resource+" "+nameOf(o)] = true
	}
	for _, o := range w.Objects {
		if err := n.add(o, w.Platforms, made); err != nil {
			return n, err
		}
	}
	n.rights = append(rightsFor(n.kinds), n.more...)
	slices.SortFunc(n.names, func(a, b nameUse) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.name, b.name))
	})
	n.names = slices.CompactFunc(n.names, func(a, b nameUse) bool { return a.resource == b.resource && a.name == b.name })
	return n, nil
}

// add reads one object.
func (n *Needs) add(o runtime.Object, platforms map[string][]string, made map[string]bool) error {
	gvk, err := kube.KindOf(o)
	if err != nil {
		return err
	}
	by := titleOf(gvk, o)
	if !slices.ContainsFunc(n.kinds, func(k kindUse) bool { return k.kind == gvk }) {
		n.kinds = append(n.kinds, kindUse{gvk, by})
	}
	found, err := featuresOf(o, by)
	if err != nil {
		return err
	}
	n.features = append(n.features, found...)
	if err := n.addMetrics(o, by); err != nil {
		return err
	}
	n.addDoors(o, by, made)
	n.addClaims(o, by)
	template := kube.PodTemplateOf(o)
	if template == nil {
		return nil
	}
	p := pods{by: by, kind: gvk.Kind, name: nameOf(o), object: o, template: template, platforms: map[string][]string{}}
	for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
		if of := platforms[c.Image]; len(of) > 0 {
			p.platforms[c.Image] = of
		}
	}
	n.pods = append(n.pods, p)
	if name := template.Spec.PriorityClassName; name != "" {
		n.priority = append(n.priority, use{name, by})
	}
	for _, one := range namesIn(template.Spec) {
		if !made[one.resource+" "+one.name] {
			one.by = by
			n.names = append(n.names, one)
		}
	}
	return nil
}

// addMetrics reads which metrics an autoscaler goes by.
func (n *Needs) addMetrics(o runtime.Object, by string) error {
	if !strings.HasPrefix(by, "horizontalpodautoscaler ") {
		return nil
	}
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return fmt.Errorf("%s: %w", by, err)
	}
	from := []use{
		{"Resource", "metrics.k8s.io"}, {"ContainerResource", "metrics.k8s.io"},
		{"Pods", "custom.metrics.k8s.io"}, {"Object", "custom.metrics.k8s.io"}, {"External", "external.metrics.k8s.io"},
	}
	for _, one := range from {
		if holds(tree, []string{"spec", "metrics[]", "type"}, one.name) {
			n.metrics = append(n.metrics, use{one.by, by})
		}
	}
	return nil
}

// addDoors reads what leads into the cluster, and what more than its kind tells of an object's permissions.
func (n *Needs) addDoors(o runtime.Object, by string, made map[string]bool) {
	switch o := o.(type) {
	case *corev1.Service:
		if o.Spec.Type == corev1.ServiceTypeLoadBalancer {
			n.balanced = append(n.balanced, by)
		}
	case *rbacv1.Role:
		for _, r := range o.Rules {
			n.addGiven(r, by)
		}
	case *networkingv1.Ingress:
		class := ""
		if o.Spec.IngressClassName != nil {
			class = *o.Spec.IngressClassName
		}
		n.classes = append(n.classes, use{class, by})
		if managed(o.Annotations) {
			return // its certificate is made
		}
		for _, t := range o.Spec.TLS {
			if t.SecretName != "" && !made["secrets "+t.SecretName] {
				n.names = append(n.names, nameUse{"secrets", t.SecretName, by})
			}
		}
	}
}

// addGiven reads what a Role gives: the API server has nobody give what they have not. A rule for some names is left out.
func (n *Needs) addGiven(r rbacv1.PolicyRule, by string) {
	if len(r.ResourceNames) > 0 {
		return
	}
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			n.more = append(n.more, Permission{
				For: toRelease, Group: group, Resource: resource, Verbs: r.Verbs, Why: by + " gives it, and nobody may give what they have not",
			})
		}
	}
}

// managed tells whether cert-manager makes the certificate of an Ingress.
func managed(annotations map[string]string) bool {
	for key := range annotations {
		if strings.HasPrefix(key, "cert-manager.io/") {
			return true
		}
	}
	return false
}

// rightsFor are the permissions that objects of these kinds ask for.
func rightsFor(kinds []kindUse) []Permission {
	has := map[string]bool{}
	for _, k := range kinds {
		has[k.kind.Kind] = true
	}
	all := slices.DeleteFunc(needed(), func(p Permission) bool { return p.Kind != "" && !has[p.Kind] })
	for _, k := range kinds {
		r := resourceOf(k.kind)
		switch k.kind.Kind {
		case "PersistentVolumeClaim", "ConfigMap", "Secret": // they stand beside the releases
		default:
			all = append(all, ofRelease(r.Resource, r.Group, k.kind.Kind)...)
		}
	}
	return all
}

// namesIn are the objects of the namespace that a pod reads and cannot start without.
func namesIn(s corev1.PodSpec) []nameUse {
	found := map[nameUse]bool{}
	add := func(resource, name string, optional *bool) {
		if name != "" && (optional == nil || !*optional) {
			found[nameUse{resource: resource, name: name}] = true
		}
	}
	if s.ServiceAccountName != "default" {
		add("serviceaccounts", s.ServiceAccountName, nil)
	}
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		addEnvironment(c, add)
	}
	for _, p := range s.ImagePullSecrets {
		add("secrets", p.Name, nil)
	}
	for _, v := range s.Volumes {
		if v.Secret != nil {
			add("secrets", v.Secret.SecretName, v.Secret.Optional)
		}
		if v.ConfigMap != nil {
			add("configmaps", v.ConfigMap.Name, v.ConfigMap.Optional)
		}
		if v.PersistentVolumeClaim != nil {
			add("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName, nil)
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b nameUse) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.name, b.name))
	})
}

// addEnvironment is what a container has its variables from.
func addEnvironment(c corev1.Container, add func(resource, name string, optional *bool)) {
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			add("secrets", from.SecretRef.Name, from.SecretRef.Optional)
		}
		if from.ConfigMapRef != nil {
			add("configmaps", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		}
	}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case from == nil:
		case from.SecretKeyRef != nil:
			add("secrets", from.SecretKeyRef.Name, from.SecretKeyRef.Optional)
		case from.ConfigMapKeyRef != nil:
			add("configmaps", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Optional)
		}
	}
}

// resourceOf is how paths of the API name a kind. What Kubernetes comes with follows the rule, and so do the kinds of others
// that a project may have.
func resourceOf(gvk schema.GroupVersionKind) schema.GroupVersionResource {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural
}

func nameOf(o runtime.Object) string {
	if m, ok := o.(metav1.Object); ok {
		return m.GetName()
	}
	return ""
}

func titleOf(gvk schema.GroupVersionKind, o runtime.Object) string {
	return fmt.Sprintf("%s %s", strings.ToLower(gvk.Kind), nameOf(o))
}
