package compose_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

// referencePage is the verdict table for readers.
const referencePage = "../../docs/compose.md"

// TestReference sees that docs/compose.md says what the code does. go test ./internal/compose -update writes it anew.
func TestReference(t *testing.T) {
	t.Parallel()
	want := page()
	if *update {
		if err := os.WriteFile(referencePage, []byte(want), 0o644); err != nil { //nolint:gosec // a page for all
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the code says; go test ./internal/compose -update (-want +got):\n%s", referencePage, diff)
	}
}

func page() string {
	table := compose.Verdicts()
	var b strings.Builder
	b.WriteString("# What becomes of each attribute of a Compose file\n\n" +
		"Made from the code by `go test ./internal/compose -update`; a test holds it against the schema of the Compose specification.\n\n" +
		"- **carried**: does what Compose says\n" +
		"- **in part**: carried; a warning says what is missing\n" +
		"- **ignored**: the application runs without it; a warning says so\n" +
		"- **refused**: the application would not be the same; an error names file, line and a way out\n\n" +
		"Attributes of `jobs` and of `pre_start` hooks are as those of services, unless they have a line of their own. Some verdicts are for\n" +
		"some values only: `init: false` is no reason to warn.\n\n" +
		"A service that runs elsewhere, or is somebody's Helm chart, needs no image; of its other attributes only names, variables and\n" +
		"`depends_on` count: [backing services](backing-services.md).\n\n| attribute | verdict | |\n|---|---|---|\n")
	for _, path := range schema.AttributePaths() {
		name := string(path)
		rule, own := table[name]
		if !own || strings.HasSuffix(name, "*") {
			continue // said with its parent, or with services
		}
		note := rule.Note
		if rule.Hint != "" {
			note += "; " + rule.Hint
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(name, ".[]", "[]"), rule.Verdict, strings.ReplaceAll(note, "|", "\\|"))
	}
	return b.String()
}
