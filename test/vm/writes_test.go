package vm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writes are those that the guest has told of, as "configmap 12" or "line 3".
type writes struct {
	told []string
}

// note takes a line of the guest, if it tells of a write: that it was acknowledged, or that it is there.
func (w *writes) note(line string) bool {
	for _, prefix := range []string{"acknowledged ", "found "} {
		if write, ok := strings.CutPrefix(line, prefix); ok {
			w.told = append(w.told, write)
			return true
		}
	}
	return false
}

func (w *writes) count(kind string) int {
	n := 0
	for _, write := range w.told {
		if strings.HasPrefix(write, kind+" ") {
			n++
		}
	}
	return n
}

func (w *writes) String() string {
	return fmt.Sprintf("%d configmaps, %d lines", w.count("configmap"), w.count("line"))
}

// await returns as soon as so many of each kind were acknowledged: others are then under way.
func (w *writes) await(t *testing.T, m *machine, enough int) {
	t.Helper()
	for w.count("configmap") < enough || w.count("line") < enough {
		line, err := m.next(t, time.Minute)
		if err != nil {
			t.Fatalf("after %s: %v", w, err)
		}
		w.note(line)
	}
}

// without are the writes that the other has not, in their order.
func (w *writes) without(other writes) []string {
	return slices.DeleteFunc(slices.Clone(w.told), func(write string) bool { return slices.Contains(other.told, write) })
}

// What proves that nothing is lost must be able to find a loss.
func TestWrites(t *testing.T) {
	t.Parallel()
	var before, after writes
	for _, line := range []string{"acknowledged line 1", "acknowledged configmap 1", "acknowledged line 2", "something else"} {
		before.note(line)
	}
	for _, line := range []string{"found line 1", "found configmap 1", "found configmap 2"} {
		after.note(line)
	}
	if diff := cmp.Diff([]string{"line 2"}, before.without(after)); diff != "" {
		t.Error(diff)
	}
	if got := before.String(); got != "1 configmaps, 2 lines" {
		t.Error(got)
	}
	if before.note("something else") {
		t.Error("something else is taken for a write")
	}
}
