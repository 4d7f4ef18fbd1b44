package apiserver

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What a slow machine answers is asked again; what would be the same the next time ends the start at once.
func TestLasting(t *testing.T) {
	t.Parallel()
	roles := schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"the store is slow":      {apierrors.NewInternalError(errors.New("etcdserver: request timed out")), false},
		"the server is slow":     {apierrors.NewTimeoutError("", 1), false},
		"the server is not up":   {apierrors.NewServiceUnavailable(""), false},
		"no namespace yet":       {apierrors.NewNotFound(roles, "view"), false},
		"somebody was faster":    {apierrors.NewConflict(roles, "view", nil), false},
		"it is not allowed":      {apierrors.NewForbidden(roles, "view", nil), true},
		"among others":           {errors.Join(errors.New("other"), apierrors.NewForbidden(roles, "view", nil)), true},
		"the object is no good":  {apierrors.NewInvalid(schema.GroupKind{Kind: "ClusterRole"}, "view", nil), true},
		"the request is no good": {fmt.Errorf("roles: %w", apierrors.NewBadRequest("")), true},
	}
	for name, test := range tests {
		if got := lasting(test.err); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
