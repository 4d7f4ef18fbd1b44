package render_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

var update = flag.Bool("update", false, "write what render makes into testdata")

// TestGolden renders each case of testdata: a Compose file and its neighbours, the images it uses, and the objects that
// are expected. go test -update ./internal/render writes the last part anew, to be reviewed as code.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := renderCase(t, archive)
			want := ""
			for i, f := range archive.Files {
				if f.Name == "want.yaml" {
					want = string(f.Data)
					archive.Files = slices.Delete(archive.Files, i, i+1)
					break
				}
			}
			if *update {
				archive.Files = append(archive.Files, txtar.File{Name: "want.yaml", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("objects differ (-want +got):\n%s", diff)
			}
		})
	}
}

// renderCase is all that render makes of a case, as text. It renders twice: the same input gives the same bytes.
func renderCase(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if strings.HasSuffix(f.Name, ".sh") {
			mode = 0o700
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
	first := renderDir(t, dir)
	if second := renderDir(t, dir); first != second {
		t.Errorf("the same input gave other bytes:\n%s", cmp.Diff(first, second))
	}
	return first
}

func renderDir(t *testing.T, dir string) string {
	t.Helper()
	// A case is for Perch's own node, but with a file named elsewhere, which has what the target and its cluster say.
	elsewhere, err := os.ReadFile(filepath.Join(dir, "elsewhere"))
	embedded := os.IsNotExist(err)
	project, err := compose.Load(t.Context(), compose.Options{
		WorkingDir: dir, ProjectName: "demo", Environment: map[string]string{"FROM_ENVIRONMENT": "from the environment\n"},
		Embedded: embedded,
	})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	target := render.Target{Namespace: project.Namespace, Embedded: embedded, LoadBalancer: embedded}
	if err := yaml.UnmarshalStrict(elsewhere, &target); err != nil {
		t.Fatal(err)
	}
	out, err := render.Objects(project, images(t, dir), target)
	var problems compose.Problems
	if errors.As(err, &problems) {
		return refusals(project, problems)
	}
	if err != nil {
		t.Fatalf("objects: %v", err)
	}
	checkLevels(t, project, out)
	return strings.ReplaceAll(text(t, project, out), dir, "/project")
}

// refusals are what render finds wrong in a file that could be read.
func refusals(project *compose.Project, problems compose.Problems) string {
	var b strings.Builder
	for _, w := range project.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", w.String())
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "# error: %s\n", p.String())
		if p.Hint != "" {
			fmt.Fprintf(&b, "#   hint: %s\n", p.Hint)
		}
	}
	return b.String()
}

func text(t *testing.T, project *compose.Project, out render.Output) string {
	t.Helper()
	var b bytes.Buffer
	write := func(title string, objects []runtime.Object) {
		data, err := render.YAML(objects)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 0 {
			fmt.Fprintf(&b, "# %s\n%s", title, data)
		}
	}
	for _, w := range project.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", w.String())
	}
	for _, n := range out.Notes {
		fmt.Fprintf(&b, "# note: %s: %s\n", n.Path, n.Text)
	}
	write("volumes", out.Volumes)
	for _, u := range out.Units {
		fmt.Fprintf(&b, "# unit %s, release %s\n", u.Service, u.Release)
		for _, d := range u.DependsOn {
			fmt.Fprintf(&b, "# depends on %s: %s required=%t restart=%t\n", d.Service, d.Condition, d.Required, d.Restart)
		}
		for _, p := range u.Published {
			fmt.Fprintf(&b, "# published %s:%d -> %d/%s http=%t\n", p.HostIP, p.Published, p.Target, p.Protocol, p.HTTP)
		}
		for _, h := range u.Hosts {
			fmt.Fprintf(&b, "# answers at %s\n", h.URL)
		}
		write("config", u.Config)
		for _, m := range u.Migrations {
			write("migration", []runtime.Object{m})
		}
		write("objects", u.Objects)
	}
	for _, name := range slices.Sorted(maps.Keys(out.Jobs)) {
		write("job "+name, []runtime.Object{out.Jobs[name]})
		for _, o := range out.JobUse[name] {
			write("used by job "+name, []runtime.Object{o})
		}
	}
	return b.String()
}
