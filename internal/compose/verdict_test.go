package compose

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
)

// TestEveryAttributeHasAVerdict walks the schema that compose-go ships: an attribute that the specification gains is
// found here, before a user's file loses it in silence.
func TestEveryAttributeHasAVerdict(t *testing.T) {
	t.Parallel()
	table := Verdicts()
	known := map[string]bool{}
	for _, path := range schema.AttributePaths() {
		known[string(path)] = true
		rule, ok := table.Find(string(path))
		if !ok {
			t.Errorf("no verdict on %s", path)
			continue
		}
		if rule.Verdict != Carried && rule.Note == "" {
			t.Errorf("the verdict on %s says %s and not why", path, rule.Verdict)
		}
	}
	for path := range table {
		if !known[path] {
			t.Errorf("%s is in the table and not in the specification", path)
		}
	}
	_ = strings.TrimSpace
}
