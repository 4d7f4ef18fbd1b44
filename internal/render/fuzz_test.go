package render_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/render"
)

// FuzzLoadAndRender feeds anything as a Compose file: it is refused with an error that can be shown, or it is rendered,
// and the second time the bytes are the same.
func FuzzLoadAndRender(f *testing.F) {
	for _, pattern := range []string{"testdata/*.txtar", "../compose/testdata/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				f.Fatal(err)
			}
			for _, one := range archive.Files {
				if one.Name == "compose.yaml" {
					f.Add(one.Data)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		first, second := rendered(t, dir), rendered(t, dir)
		if !bytes.Equal(first, second) {
			t.Errorf("the same file gave other bytes:\n%s\n%s", first, second)
		}
	})
}

func rendered(t *testing.T, dir string) []byte {
	t.Helper()
	project, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, ProjectName: "fuzz", Environment: map[string]string{}})
	var problems compose.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			if p.Message == "" {
				t.Errorf("a problem without a message: %+v", p)
			}
		}
		return []byte(err.Error())
	}
	if fault.KindOf(err) == fault.ComposeFile {
		return []byte(err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := render.Objects(project, nil, render.Target{Namespace: "fuzz", LoadBalancer: true})
	if err != nil {
		return []byte(err.Error())
	}
	all := append([]runtime.Object{}, out.Volumes...)
	for _, u := range out.Units {
		all = append(append(all, u.Config...), u.Objects...)
		for _, m := range u.Migrations {
			all = append(all, m)
		}
	}
	text, err := render.YAML(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
