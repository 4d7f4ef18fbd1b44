package compose_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

func targetsProject(t *testing.T) string {
	t.Helper()
	return folder(t, map[string]string{
		"compose.yaml": `x-perch:
  targets:
    prod:
      context: ${WHERE}
      namespace: shop
      registry: registry.example.com:5000/acme/shop
      production: true
      replicas: {web: 3}
      overrides: [prod/compose.prod.yaml]
    stage: {context: stage}
services:
  web: {image: nginx, environment: {MODE: here}}
`,
		"compose.override.yaml":  "x-perch: {targets: {prod: {domain: shop.example.com}}}\nservices: {web: {environment: {EXTRA: \"1\"}}}\n",
		"prod/compose.prod.yaml": "services: {web: {environment: {MODE: far}}}\n",
	})
}

func TestTarget(t *testing.T) {
	t.Parallel()
	o := compose.Options{WorkingDir: targetsProject(t), Environment: map[string]string{"WHERE": "prod-eu"}}
	want := compose.Target{
		Name: "prod", Context: "prod-eu", Namespace: "shop", Registry: "registry.example.com:5000/acme/shop", Domain: "shop.example.com",
		Production: true, Overrides: []string{"prod/compose.prod.yaml"}, Replicas: map[string]int{"web": 3},
	}
	o.ProjectName = "shop"
	got, project, err := compose.FindTarget(o, "prod")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || project != "shop" {
		t.Errorf("of project %q: %s", project, diff)
	}
	if diff := cmp.Diff([]string{"prod", "stage"}, compose.Targets(o)); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		target, mode string
		replicas     int
	}{{"", "here", 1}, {"stage", "here", 1}, {"prod", "far", 3}} {
		o.Target = c.target
		p, err := compose.Load(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		web := p.Project.Services["web"]
		if p.Target.Name != c.target || *web.Environment["MODE"] != c.mode || *web.Environment["EXTRA"] != "1" || web.GetScale() != c.replicas {
			t.Errorf("target %q: %q, MODE %s, %d replicas", c.target, p.Target.Name, *web.Environment["MODE"], web.GetScale())
		}
	}
}

func TestNoSuchTarget(t *testing.T) {
	t.Parallel()
	o := compose.Options{WorkingDir: targetsProject(t), Environment: map[string]string{"WHERE": "prod-eu"}}
	const want = `no target "prd" in the Compose file`
	if _, _, err := compose.FindTarget(o, "prd"); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	o.Target = "prd"
	if _, err := compose.Load(t.Context(), o); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestOverridesOfATarget: a mistake in a target's own file is told with that file's line, and only when it is chosen.
func TestOverridesOfATarget(t *testing.T) {
	t.Parallel()
	o := compose.Options{WorkingDir: folder(t, map[string]string{
		"compose.yaml": "x-perch: {targets: {prod: {context: far, overrides: [prod.yaml, none.yaml]}}}\nservices: {web: {image: nginx}}\n",
		"prod.yaml":    "services:\n  web:\n    imag: x\n",
	})}
	if _, err := compose.Load(t.Context(), o); err != nil {
		t.Error(err)
	}
	o.Target = "prod"
	_, err := compose.Load(t.Context(), o)
	for _, want := range []string{`prod.yaml:3: service "web": unknown key "imag"`, "none.yaml: cannot be read"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
