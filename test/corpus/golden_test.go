package corpus

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/kube"
)

// testGolden: every object that package render's golden files expect is one that a real API server takes, with the Gateway
// API's own definitions and that of a ServiceMonitor.
func testGolden(t *testing.T, server *api) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	if _, err := server.kubernetes.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	server.offers(t, kube.Offers{})
	server.define(t, gatewayDefinition(t, "httproutes"))
	server.define(t, gatewayDefinition(t, "grpcroutes"))
	monitors, err := os.ReadFile("testdata/servicemonitors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	server.define(t, monitors)
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "public", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"},
	}
	if _, err := server.kubernetes.NetworkingV1().IngressClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	server.offers(t, kube.Offers{GatewayAPI: true, ServiceMonitors: true, IngressController: "k8s.io/ingress-nginx"})
	files, err := filepath.Glob("../../internal/render/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	accepted := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(want(archive), "\n---\n") {
			o := map[string]any{}
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if o["kind"] == nil {
				continue // what is told before the first object
			}
			if err := server.apply(t.Context(), document); err != nil {
				t.Errorf("%s: %v in\n%s", filepath.Base(file), err, document)
				continue
			}
			accepted++
		}
	}
	t.Logf("%d objects accepted", accepted)
}

// offers compares what the server is seen to offer.
func (a *api) offers(t *testing.T, want kube.Offers) {
	t.Helper()
	client, err := kube.New(a.config, "demo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Offers(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the cluster offers (-want +got):\n%s", diff)
	}
}

func want(a *txtar.Archive) string {
	for _, f := range a.Files {
		if f.Name == "want.yaml" {
			return string(f.Data)
		}
	}
	return ""
}

// gatewayDefinition is a definition of the Gateway API as its module has it.
func gatewayDefinition(t *testing.T, plural string) []byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/standard/gateway.networking.k8s.io_"+plural+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// define gives the server a kind of its own, and waits until it is served.
func (a *api) define(t *testing.T, definition []byte) {
	t.Helper()
	var o unstructured.Unstructured
	if err := yaml.Unmarshal(definition, &o.Object); err != nil {
		t.Fatal(err)
	}
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := a.dynamic.Resource(definitions).Create(t.Context(), &o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		a.mapper.Reset()
		_, err := a.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s is not served: %v", kind, err)
	}
}
