package compose_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// FuzzLoad feeds anything as a Compose file, its override and its .env. There is no panic; what is wrong is told in file order,
// each with a message, twice the same, and without the secret that is in the environment.
func FuzzLoad(f *testing.F) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		parts := map[string]string{}
		for _, one := range archive.Files {
			parts[one.Name] = string(one.Data)
		}
		f.Add(parts["compose.yaml"], parts["compose.override.yaml"], parts[".env"])
	}
	f.Fuzz(func(t *testing.T, main, override, env string) {
		if len(main)+len(override)+len(env) > 64<<10 {
			t.Skip("time is better spent on small files")
		}
		dir := filepath.Join(t.TempDir(), "shop")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"compose.yaml": main, "compose.override.yaml": override, ".env": env} {
			if content == "" && name != "compose.yaml" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, embedded := range []bool{false, true} {
			first, second := fuzzed(t, dir, embedded), fuzzed(t, dir, embedded)
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("the same files gave other complaints:\n%s", diff)
			}
		}
	})
}

// fuzzed is all that Load says of the files of a folder.
func fuzzed(t *testing.T, dir string, embedded bool) string {
	t.Helper()
	secret := "Sup3rS3cretV4lue"
	o := compose.Options{WorkingDir: dir, Embedded: embedded, Environment: map[string]string{"DB_PASSWORD": secret, "PASSWORD": secret, "TOKEN": secret}}
	project, err := compose.Load(t.Context(), o)
	var problems compose.Problems
	switch {
	case errors.As(err, &problems):
		if len(problems) == 0 {
			t.Error("an error that says nothing")
		}
	case fault.KindOf(err) == fault.ComposeFile:
		return err.Error()
	case err != nil:
		t.Fatal(err)
	default:
		problems = project.Warnings
	}
	for _, p := range problems {
		if p.Message == "" {
			t.Errorf("a problem without a message: %+v", p)
		}
		if strings.Contains(p.Message+p.Hint+p.Path, secret) {
			t.Errorf("the secret is in %+v", p)
		}
	}
	inOrder := func(a, b compose.Problem) int {
		if a.File != b.File {
			return 0
		}
		return a.Line - b.Line
	}
	if !slices.IsSortedFunc(problems, inOrder) {
		t.Errorf("not in file order:\n%s", problems.Error())
	}
	return listed("", problems)
}
