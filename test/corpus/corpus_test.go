package corpus

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/render"
)

var update = flag.Bool("update", false, "write what is said of the files into testdata")

// TestCorpus is the corpus in one process: 39 files, of which two want the socket of Docker.
func TestCorpus(t *testing.T) {
	results := make([]result, 0, 39)
	for _, s := range awesome(t) {
		results = append(results, convert(t.Context(), s))
	}
	server := start(t)
	accepted := map[string]int{}
	for _, r := range results {
		t.Run(r.name, func(t *testing.T) { accepted[r.name] = server.accept(t, r) })
	}
	report(t, table("AWESOME-COMPOSE", results, accepted))
	t.Run("Shapes", func(t *testing.T) { testShapes(t, server) })
	t.Run("Golden", func(t *testing.T) { testGolden(t, server) })
	golden(t, "testdata/awesome-compose.golden", said(results))
	refused := map[string]string{}
	for _, r := range results {
		if r.refused != nil {
			refused[r.name] = r.refused.Error()
		}
	}
	t.Run("two are refused, by the name of the socket", func(t *testing.T) {
		if got := sortedKeys(refused); !slices.Equal(got, []string{"portainer", "traefik-golang"}) {
			t.Fatalf("refused are %v", refused)
		}
		for name, why := range refused {
			if !strings.Contains(why, "docker.sock") {
				t.Errorf("%s: %s", name, why)
			}
		}
	})
	t.Run("all in less than a second", func(t *testing.T) {
		fastest := time.Hour // of a few, since other tests may have the processor
		for range 5 {
			started := time.Now()
			for _, s := range awesome(t) {
				convert(t.Context(), s)
			}
			fastest = min(fastest, time.Since(started))
		}
		if fastest > time.Second {
			t.Errorf("%s", fastest)
		}
	})
}

// BenchmarkCorpus converts all 39 files.
func BenchmarkCorpus(b *testing.B) {
	all := awesome(b)
	for b.Loop() {
		for _, s := range all {
			convert(b.Context(), s)
		}
	}
}

// said is all that a user is told of the files.
func said(results []result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "== %s\n", r.name)
		for _, text := range r.problems() {
			fmt.Fprintf(&b, "refused: %s\n", text)
		}
		for _, text := range r.warnings() {
			fmt.Fprintf(&b, "warning: %s\n", text)
		}
		for _, n := range r.output.Notes {
			fmt.Fprintf(&b, "note: %s: %s\n", n.Path, n.Text)
		}
		for _, o := range r.objects {
			if m, ok := o.(metav1.Object); ok {
				fmt.Fprintf(&b, "%s %s\n", o.GetObjectKind().GroupVersionKind().Kind, m.GetName())
			}
		}
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// api is a real API server.
type api struct {
	config     *rest.Config
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
	mapper     *restmapper.DeferredDiscoveryRESTMapper
}

func start(t *testing.T) *api {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", apitest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &api{config, client, dyn, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))}
}

// accept sends the objects as `perch config` writes them, and returns how many the server takes.
func (a *api) accept(t *testing.T, r result) (accepted int) {
	t.Helper()
	if r.refused != nil {
		return 0
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.project.Namespace}}
	if _, err := a.kubernetes.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	text, err := render.YAML(r.objects)
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		if err := a.apply(t.Context(), document); err != nil {
			t.Errorf("%v in\n%s", err, document)
			continue
		}
		accepted++
	}
	if accepted != len(r.objects) && !t.Failed() {
		t.Errorf("%d objects, %d in the text", len(r.objects), accepted)
	}
	return accepted
}

func (a *api) apply(ctx context.Context, document string) error {
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
		return err
	}
	kind := schema.FromAPIVersionAndKind(o.GetAPIVersion(), o.GetKind())
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	_, err = a.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.ApplyPatchType, []byte(document),
		metav1.PatchOptions{FieldManager: "perch", DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}
