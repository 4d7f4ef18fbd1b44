package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPodName(t *testing.T) {
	t.Parallel()
	for want, of := range map[string][2]string{
		"web-5xtl2":             {"web-659c54bf75-5xtl2", "web"},
		"cache-5xtl2":           {"web-659c54bf75-5xtl2", "cache"},
		"a-web-5xtl2":           {"a-web-659c54bf75-5xtl2", "a-web"},
		"web-pre-start-0-4hm4b": {"web-pre-start-0-e359dd31aa-4hm4b", "pre-start-0"},
	} {
		if got := podName(of[0], of[1]); got != want {
			t.Errorf("%v: %q, want %q", of, got, want)
		}
	}
}

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
