package render

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// standing is who the pods are to the cluster: their account and their priority. The token of the account is mounted only where
// the account is one to use the API with.
func (w workload) standing(s *corev1.PodSpec) {
	s.PriorityClassName = w.extension.Priority
	a := w.extension.ServiceAccount
	if a == nil {
		return
	}
	s.ServiceAccountName = w.accountName()
	if a.Use != "" || len(a.Rules) > 0 {
		s.AutomountServiceAccountToken = new(true)
	}
}

// accountName is the account that the pods have, "" when they have none of their own.
func (w workload) accountName() string {
	switch a := w.extension.ServiceAccount; {
	case a == nil:
		return ""
	case a.Use != "":
		return a.Use
	case a.Name != "":
		return a.Name
	}
	return w.name
}

// account is the account that is made for the service, with a role of its own that has the rules of the file and no other.
func (w workload) account() []runtime.Object {
	a, name := w.extension.ServiceAccount, w.accountName()
	if a == nil || a.Use != "" {
		return nil
	}
	of := &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   w.builder.meta(name, w.service.Name),
		AutomountServiceAccountToken: new(false), // the service's own pods ask for it
	}
	for key, value := range a.Annotations {
		putAnnotation(&of.ObjectMeta, key, value)
	}
	if len(w.service.PreStart) > 0 {
		w.note(runs{path: "services." + w.service.Name}, "x-perch.service_account", "pre_start that runs once for the service runs without it, as the account comes after it")
	}
	if len(a.Rules) == 0 {
		return []runtime.Object{of}
	}
	role := &rbacv1.Role{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: w.builder.meta(name, w.service.Name),
	}
	for _, rule := range a.Rules {
		role.Rules = append(role.Rules, policyRule(rule))
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"}, ObjectMeta: w.builder.meta(name, w.service.Name),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: w.target.Namespace}},
	}
	return []runtime.Object{of, role, binding}
}

func policyRule(rule compose.PolicyRule) rbacv1.PolicyRule {
	groups := rule.APIGroups
	if len(groups) == 0 {
		groups = []string{""}
	}
	return rbacv1.PolicyRule{APIGroups: groups, Resources: rule.Resources, Verbs: rule.Verbs, ResourceNames: rule.ResourceNames}
}

// pullSecrets are the Secrets that a pod pulls its images with: the target's and those of its containers, each once.
func (b *builder) pullSecrets(all []runs) []corev1.LocalObjectReference {
	var names []corev1.LocalObjectReference
	seen := map[string]bool{"": true}
	add := func(name string) {
		if !seen[name] {
			names = append(names, corev1.LocalObjectReference{Name: name})
		}
		seen[name] = true
	}
	add(b.target.PullSecret)
	for _, r := range all {
		for _, name := range r.extension.ImagePullSecrets {
			add(name)
		}
	}
	return names
}
