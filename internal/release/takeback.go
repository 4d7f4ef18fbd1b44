package release

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// takeBack is the revision that a service returns to when its rollout fails.
type takeBack struct {
	revision int    // 0: there is none
	manifest string // what it holds
}

// takeBack rolls a service back after its rollout failed for the given cause, and waits until the old version is whole.
// The error is of kind fault.RolledBack then, and else has both failures.
func (e *executor) takeBack(ctx context.Context, s Step, to takeBack, cause error) error {
	e.tell(s, progress.Working, fmt.Sprintf("rolling back to revision %d", to.revision))
	if err := e.client.ClearBroken(ctx, in(e.plan.Namespace, s.unit.Objects)); err != nil {
		return errors.Join(cause, e.client.Explain(fmt.Errorf("service %s: rollback: %w", s.Service, err)))
	}
	if objects, err := objectsIn(to.manifest); err == nil {
		if err := e.client.HoldReplicas(ctx, e.plan.Namespace, elastic(objects)); err != nil {
			return errors.Join(cause, e.client.Explain(fmt.Errorf("service %s: rollback: %w", s.Service, err)))
		}
	}
	verdict, ended, applied := make(chan error, 1), make(chan error, 1), make(chan struct{})
	w := waiter{applied: func() { close(applied) }, verdict: verdict, foreign: s.unit.Foreign != "", ctx: ctx, timeout: e.timeout}
	description := fmt.Sprintf("rollback to %d: the rollout failed", to.revision)
	go func() { ended <- e.helm.rollback(s.unit.Release, to.revision, description, w) }()
	var err error
	select {
	case <-applied:
		limited, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		verdict <- e.client.WaitReady(limited, in(e.plan.Namespace, to.objects(s.unit)), e.report, "service "+s.Service)
		err = <-ended
	case err = <-ended:
	}
	if err != nil {
		return errors.Join(cause, e.client.Explain(fmt.Errorf("service %s: rollback to revision %d: %w", s.Service, to.revision, err)))
	}
	back := &fault.Error{
		Kind: fault.RolledBack, Err: fmt.Errorf("%w; rolled back to revision %d", cause, to.revision), Hint: fault.HintOf(cause),
	}
	if f, ok := errors.AsType[*fault.Error](cause); ok {
		back.Output = f.Output
	}
	return back
}

// objects are those of a unit that the revision has too: what can be waited for.
func (t takeBack) objects(u *Unit) []runtime.Object {
	there := documents(t.manifest)
	var all []runtime.Object
	for _, o := range u.Objects {
		if ref, err := refOf(o); err == nil && there[ref] != nil {
			all = append(all, o)
		}
	}
	return all
}
