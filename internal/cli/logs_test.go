package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLongLogPrefix: names are aligned, and a very long one does not move the lines of all others.
func TestLongLogPrefix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	p := logPrefix{out: &b}
	p.print("db-859bc7fddb-7n5tc", "db", "one")
	p.print("web-659c54bf75-5xtl2", "web", "two")
	p.print("reports-and-statistics-aggregator-69bc4fd7f-rndzl", "reports-and-statistics-aggregator", "three")
	p.print("db-859bc7fddb-7n5tc", "db", "four")
	want := "db-7n5tc | one\nweb-5xtl2 | two\nreports-and-statistics-aggregator-rndzl | three\ndb-7n5tc  | four\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
