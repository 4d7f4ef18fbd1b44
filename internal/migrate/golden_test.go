package migrate

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/perch-k8s/perch/internal/fault"
)

var update = flag.Bool("update", false, "write what migrate makes into testdata")

// TestGolden migrates the in.yaml or in.json of each case of testdata, and compares what comes out, what was said, and the
// difference. go test -update ./internal/migrate writes these anew, to be reviewed as code.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, archive := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := archive.Files[0]
			result, err := File(in.Name, string(in.Data))
			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{in, {Name: "said", Data: []byte(said(in.Name, result, err))}}}
			if err == nil {
				out := strings.Replace(in.Name, "in.", "out.", 1)
				got.Files = append(got.Files,
					txtar.File{Name: "difference", Data: diff.Diff(in.Name, in.Data, out, []byte(result.Text))},
					txtar.File{Name: out, Data: []byte(result.Text)})
			}
			if *update {
				if err := os.WriteFile(file(name), txtar.Format(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if again, err := File(in.Name, result.Text); err == nil && again.Text != result.Text {
				t.Errorf("a second time changes it again:\n%s", cmp.Diff(result.Text, again.Text))
			}
		})
	}
}

func file(name string) string { return filepath.Join("testdata", name+".txtar") }

// cases are the archives of testdata by name.
func cases(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob(file("*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	all := map[string]*txtar.Archive{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".txtar")] = archive
	}
	return all
}

// said is all that a result says beside its text.
func said(name string, r Result, err error) string {
	var lines []string
	for _, o := range r.Objects {
		lines = append(lines, fmt.Sprintf("%s:%d: %s %s: %s -> %s, explicit %s", name, o.Line, o.Kind, o.Name, o.From, o.To, strings.Join(o.Explicit, " ")))
	}
	for _, w := range r.Warnings {
		lines = append(lines, fmt.Sprintf("%s:%d: warning: %s", name, w.Line, w.Text))
		if w.Hint != "" {
			lines = append(lines, "  hint: "+w.Hint)
		}
	}
	for _, one := range flat(err) {
		lines = append(lines, "error: "+one.Error())
		if hint := fault.HintOf(one); hint != "" {
			lines = append(lines, "  hint: "+hint)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func flat(err error) []error {
	list, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // it is taken apart
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, one := range list.Unwrap() {
		all = append(all, flat(one)...)
	}
	return slices.Clip(all)
}

// TestLineEnds: a file of a Windows editor is migrated as any other, and keeps its line ends.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	for name, archive := range cases(t) {
		in := archive.Files[0]
		want, err := File(in.Name, string(in.Data))
		if err != nil {
			continue
		}
		got, err := File(in.Name, strings.ReplaceAll(string(in.Data), "\n", "\r\n"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(strings.ReplaceAll(want.Text, "\n", "\r\n"), got.Text); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
	}
}
