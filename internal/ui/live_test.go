package ui_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/ui"
)

// TestLive draws a table over itself: rows that went away are gone, and nothing wraps or scrolls.
func TestLive(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := ui.Live{Out: &out, Size: func() (int, int) { return 12, 4 }}
	table := func(rows ...string) ui.Result {
		r := ui.Result{Header: []string{"A", "B"}}
		for _, row := range rows {
			r.Rows = append(r.Rows, []string{row, "x"})
		}
		return r
	}
	for _, r := range []ui.Result{table("one", "two", "three", "four"), table("a very long row")} {
		if err := l.Draw(r); err != nil {
			t.Fatal(err)
		}
	}
	want := "A       B\x1b[K\none     x\x1b[K\ntwo     x\x1b[K\n\x1b[J" +
		"\x1b[3AA         B\x1b[K\na ver…ow  x\x1b[K\n\x1b[J"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
