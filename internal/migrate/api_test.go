package migrate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
)

// cluster is a real API server, seen as kubectl sees it.
type cluster struct {
	served map[schema.GroupVersionKind]bool
	mapper meta.RESTMapper
	client dynamic.Interface
}

func connect(t *testing.T) cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", apitest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		t.Fatal(err)
	}
	c := cluster{served: map[schema.GroupVersionKind]bool{}, mapper: restmapper.NewDiscoveryRESTMapper(groups)}
	for _, g := range groups {
		for version, resources := range g.VersionedResources {
			for _, r := range resources {
				c.served[schema.GroupVersionKind{Group: g.Group.Name, Version: version, Kind: r.Kind}] = true
			}
		}
	}
	if c.client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServer asks a real API server about everything that is migrated.
func TestServer(t *testing.T) {
	c := connect(t)
	t.Run("no old version is served, and every new one is", func(t *testing.T) {
		for from, k := range kinds() {
			if c.served[from] {
				t.Errorf("%s is served", from)
			}
			if !c.served[k.to] {
				t.Errorf("%s is not served", k.to)
			}
		}
	})
	t.Run("no kind is forgotten", func(t *testing.T) { testForgotten(t, c) })
	for name, archive := range cases(t) {
		t.Run(name, func(t *testing.T) {
			in := archive.Files[0]
			result, err := File(in.Name, string(in.Data))
			if err != nil {
				return
			}
			before, after := read(t, string(in.Data)), read(t, result.Text)
			for i, o := range before {
				if _, old := kinds()[o.GroupVersionKind()]; old {
					if err := c.create(t, o); !meta.IsNoMatchError(err) {
						t.Errorf("%s %s is not refused: %v", o.GroupVersionKind(), o.GetName(), err)
					}
					if err := c.create(t, after[i]); err != nil {
						t.Errorf("%s %s: %v", after[i].GroupVersionKind(), o.GetName(), err)
					}
				}
			}
		})
	}
}

// testForgotten looks for versions that Kubernetes still knows, that are not served, and whose kind is served in another one.
func testForgotten(t *testing.T, c cluster) {
	requests := []string{ // nobody keeps these in files
		"Binding", "DeploymentRollback", "Eviction", "PodCertificateRequest", "Scale", "TokenRequest",
	}
	var forgotten []string
	for k := range maps.Keys(schemeOf("").AllKnownTypes()) {
		_, known := kinds()[k]
		if known || c.served[k] || k.Version == runtime.APIVersionInternal || slices.Contains(requests, k.Kind) ||
			strings.HasSuffix(k.Kind, "List") || strings.HasSuffix(k.Kind, "Options") || strings.HasSuffix(k.Kind, "Review") {
			continue
		}
		for other := range c.served {
			if other.Kind == k.Kind && other.Group == k.Group {
				forgotten = append(forgotten, k.String())
			}
		}
	}
	slices.Sort(forgotten)
	if d := cmp.Diff([]string(nil), forgotten); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// create makes an object as kubectl apply --dry-run=server does: strictly, and without keeping it.
func (c cluster) create(t *testing.T, o *unstructured.Unstructured) error {
	t.Helper()
	gvk := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	resource := dynamic.ResourceInterface(c.client.Resource(mapping.Resource))
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = c.client.Resource(mapping.Resource).Namespace(metav1.NamespaceDefault)
	}
	_, err = resource.Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsNotFound(err) && gvk.Kind == "ValidatingAdmissionPolicyBinding" {
		return nil
	}
	return err
}

// read are the objects of a text.
func read(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	for _, s := range split(text) {
		d, err := s.parse()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range d.objects() {
			list = append(list, &unstructured.Unstructured{Object: o.tree})
		}
	}
	return list
}
