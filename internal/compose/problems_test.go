package compose_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/perch-k8s/perch/internal/compose"
)

var update = flag.Bool("update", false, "write what compose says into testdata")

// TestProblems loads each case of testdata and compares every complaint, its place and its hint. A case has Compose
// files and what stands beside them; the first lines of its comment may give options: "files: a.yaml b.yaml",
// "profiles: x", "env: NAME=value" and "embedded".
func TestProblems(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := complaints(t, archive)
			want := ""
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					archive.Files = slices.Delete(archive.Files, i, i+1)
					break
				}
			}
			if *update {
				archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("complaints differ (-want +got):\n%s", diff)
			}
		})
	}
}

func complaints(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := compose.Options{WorkingDir: dir, Environment: map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "embedded":
			o.Embedded = true
		case "files":
			o.Files = strings.Fields(value)
		case "profiles":
			o.Profiles = strings.Fields(value)
		case "env":
			name, v, _ := strings.Cut(value, "=")
			o.Environment[name] = v
		}
	}
	project, err := compose.Load(t.Context(), o)
	var problems compose.Problems
	switch {
	case errors.As(err, &problems):
		return listed("error", problems)
	case err != nil:
		t.Fatal(err)
	}
	return listed("warning", project.Warnings)
}

func listed(kind string, problems compose.Problems) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n", kind, p.String())
		if p.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", p.Hint)
		}
	}
	return b.String()
}
