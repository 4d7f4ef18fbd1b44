package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inventory is all that there is in the far namespace, by kind and name, but for events and numbers.
func (w *world) inventory(t *testing.T) []string {
	t.Helper()
	kinds := w.far.perch(t, "", "kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name")
	wanted := slices.DeleteFunc(strings.Fields(kinds.stdout), func(kind string) bool {
		return strings.HasPrefix(kind, "events") || strings.HasSuffix(kind, ".metrics.k8s.io")
	})
	found := w.far.perch(t, "", "kubectl", "get", strings.Join(wanted, ","), "-n", farNamespace, "--ignore-not-found", "-o", "name")
	names := strings.Fields(found.stdout)
	slices.Sort(names)
	return names
}

// unchanged wants the far namespace to be as before.
func (w *world) unchanged(t *testing.T, before []string) {
	t.Helper()
	eventually(t, 60*time.Second, "the namespace is as before", func(context.Context) error {
		if diff := cmp.Diff(before, w.inventory(t)); diff != "" {
			return errors.New("-before +after:\n" + diff)
		}
		return nil
	})
}
