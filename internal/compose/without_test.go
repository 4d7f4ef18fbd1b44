package compose_test

import (
	"testing"

	"github.com/perch-k8s/perch/internal/compose"
)

func TestWithout(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"compose.yaml": `name: shop
services:
  my.web:
    image: one
    ports: ["80", "81"]
    environment: {A: "1", B: "2"}
`})
	tests := map[string]string{
		"services.my.web.ports[1]":      "services:\n    my.web:\n        ports: !reset null\n",
		"services.my.web.environment.A": "services:\n    my.web:\n        environment:\n            A: !reset null\n",
	}
	for path, want := range tests {
		override, err := compose.Without(t.Context(), compose.Options{WorkingDir: dir}, path)
		if err != nil || string(override) != want {
			t.Errorf("%s: %v\n%s", path, err, override)
			continue
		}
		p := load(t, compose.Options{WorkingDir: dir, Override: override})
		s := p.Project.Services["my.web"]
		if gone := len(s.Ports) == 0 || len(s.Environment) == 1; !gone {
			t.Errorf("%s is still there", path)
		}
	}
}
