package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	sigs "sigs.k8s.io/yaml"
)

// TestNothingElseIsLost converts objects in which every field is set, as Kubernetes keeps them for its own tests, and back. What
// does not come back is lost, and has to be among what we warn of.
func TestNothingElseIsLost(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata", "HEAD")
	lost := map[string][]string{}
	seen := 0
	for from, k := range kinds() {
		if k.rewrite != nil || k.shape != from {
			continue
		}
		group := from.Group
		if group == "" {
			group = "core"
		}
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s.%s.%s.yaml", group, from.Version, from.Kind)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // of another module
		}
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if paths := roundTrip(t, k, data); len(paths) > 0 {
			lost[from.GroupVersion().String()+" "+from.Kind] = paths
		}
	}
	if seen < 50 {
		t.Errorf("only %d kinds were seen", seen)
	}
	const binding = "rbac.authorization.k8s.io/v1alpha1 "
	want := map[string][]string{
		"extensions/v1beta1 Deployment":          {"spec.rollbackTo.revision"},
		"extensions/v1beta1 DaemonSet":           {"spec.templateGeneration"},
		"apps/v1beta1 Deployment":                {"spec.rollbackTo.revision"},
		"discovery.k8s.io/v1beta1 EndpointSlice": {"endpoints[].topology.topologyKey"},
		binding + "ClusterRoleBinding":           {"subjects[].apiVersion"}, // the kind says it
		binding + "RoleBinding":                  {"subjects[].apiVersion"},
	}
	if d := cmp.Diff(want, lost); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// roundTrip are the paths that are not what they were after there and back.
func roundTrip(t *testing.T, k kind, data []byte) []string {
	t.Helper()
	var tree map[string]any
	if data, err := sigs.YAMLToJSON(data); err != nil {
		t.Fatal(err)
	} else if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	s := schemeOf(k.to.Group)
	old, err := decode(s, k.from, tree)
	if err != nil {
		t.Fatalf("%s: %v", k.from, err)
	}
	converted, err := k.converted(s, old.DeepCopyObject())
	if err != nil {
		t.Fatalf("%s: %v", k.from, err)
	}
	after, err := treeOf(converted)
	if err != nil {
		t.Fatal(err)
	}
	written, err := decode(s, k.to, tidy(after))
	if err != nil {
		t.Fatalf("%s: %v", k.from, err)
	}
	internal, err := s.New(schema.GroupVersionKind{Group: k.to.Group, Version: runtime.APIVersionInternal, Kind: k.to.Kind})
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.New(k.from)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Convert(written, internal, nil), s.Convert(internal, back, nil)); err != nil {
		t.Fatalf("%s: %v", k.from, err)
	}
	got, err := treeOf(back)
	if err != nil {
		t.Fatal(err)
	}
	want, err := treeOf(old)
	if err != nil {
		t.Fatal(err)
	}
	return different("", tidy(want), tidy(got))
}

// different are the paths at which got is not want.
func different(path string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		var paths []string
		for _, key := range slices.Sorted(maps.Keys(w)) {
			if path == "" && (key == "apiVersion" || key == "kind") {
				continue
			}
			paths = append(paths, different(below(path, key), w[key], g[key])...)
		}
		return paths
	case []any:
		g, _ := got.([]any)
		var paths []string
		for i := range w {
			var one any
			if i < len(g) {
				one = g[i]
			}
			paths = append(paths, different(path+"[]", w[i], one)...)
		}
		return paths
	}
	if equal(want, got) {
		return nil
	}
	return []string{path}
}
