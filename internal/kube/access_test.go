package kube

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/fault"
)

// as is a client of another user of the cluster, who has a ClusterRole if one is named.
func as(t *testing.T, c *Client, user, role string) *Client {
	t.Helper()
	config := rest.CopyConfig(c.REST)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	other, err := New(config, c.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if role == "" {
		return other
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}
	if _, err := c.Interface.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	limited := limited(t)
	for may := false; !may; { // the API server sees it a moment later
		if may, err = other.May(limited, authorizationv1.ResourceAttributes{Verb: "get", Resource: "namespaces"}); err != nil {
			t.Fatal(err)
		}
	}
	return other
}

// TestNamespaceOfAnother is a namespace for accounts that may not change it, not make it, or not even look at it.
func TestNamespaceOfAnother(t *testing.T) {
	t.Parallel()
	c := connect(t, "another")
	viewer, nobody := as(t, c, "viewer", "system:aggregate-to-view"), as(t, c, "nobody", "")
	for name, one := range map[string]*Client{"viewer": viewer, "nobody": nobody} {
		if changed, err := one.EnsureNamespace(t.Context(), ProjectNamespace("another", Security{})); changed != "" || err != nil {
			t.Errorf("%s: one that is there: %q, %v", name, changed, err)
		}
		if may, err := one.MayChange(t.Context(), "delete", "another"); may || err != nil {
			t.Errorf("%s may delete it: %v, %v", name, may, err)
		}
	}
	if may, err := c.MayChange(t.Context(), "delete", "another"); !may || err != nil {
		t.Errorf("the administrator may not delete it: %v", err)
	}
	_, err := viewer.EnsureNamespace(t.Context(), ProjectNamespace("not-there", Security{}))
	if err == nil || !strings.Contains(err.Error(), "namespace not-there is not there, and this account may not make it") ||
		!strings.Contains(fault.HintOf(err), "kubectl create namespace not-there") {
		t.Errorf("one that is not there: %v", err)
	}
	err = viewer.SetSecurity(t.Context(), "another", Security{Privileged: true, Because: "services.web.privileged"})
	if !strings.Contains(fault.HintOf(err), "kubectl label --overwrite namespace another pod-security.kubernetes.io/enforce=privileged") {
		t.Errorf("another level: %v, hint %q", err, fault.HintOf(err))
	}
}

func TestAPIs(t *testing.T) {
	t.Parallel()
	c := connect(t, "apis")
	kinds, unsure, err := c.APIs()
	if err != nil || len(unsure) > 0 {
		t.Fatalf("%v, %v", unsure, err)
	}
	if !kinds[schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}] || kinds[schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}] {
		t.Errorf("kinds %v", kinds)
	}
}
