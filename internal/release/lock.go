package release

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// The deploy lock: one Lease in the project's namespace.
const (
	lockName  = "perch-deploy"
	lockID    = "deploy lock"          // of events
	lockBeat  = 5 * time.Second        // how often the holder renews it
	lockStale = 15 * time.Second       // after so long without a renewal the holder counts as dead, and acts as if it were
	lockPoll  = 250 * time.Millisecond // how often one that waits looks
)

// ErrLockLost is the cause with which an Execute ends when another run took its lock over.
var ErrLockLost = errors.New("the deploy lock was taken by another run")

// errNoNamespace says that the namespace in which the lock would be is gone, or going.
var errNoNamespace = errors.New("the namespace is gone")

// lock holds the deploy lock until release is called. Its context, held, ends when the lock is lost, with ErrLockLost in the
// tree of its cause, and when the API server does not answer any more, with a cause of kind fault.Unreachable.
type lock struct {
	through *kube.Client // what acts under the lock does so through this one: see fence

	client    *kube.Client // for the lock itself, with connections of its own
	drop      func()       // closes these
	namespace string
	lease     *coordinationv1.Lease // belongs to beat
	held      context.Context       //nolint:containedctx // it is the lock's own
	cancel    context.CancelCauseFunc
	beating   chan struct{}
	pace      pace
	report    progress.Reporter

	mu      sync.Mutex
	renewed time.Time     // when the last renewal that got through was sent
	next    chan struct{} // closed by the next one
	ended   error         // why it is not ours any more; nil: it is, or was given back
}

// locking says how the lock is taken and kept.
type locking struct {
	holder Holder        // empty is this process
	wait   time.Duration // how long a living holder is waited for; 0: not at all
	report progress.Reporter
	pace   pace // empty is the usual one
}

// acquire takes the lock, over from a dead holder too, and keeps renewing it. A holder that lives and does not end in time
// is a fault.Error of kind Locked. errNoNamespace is in the error's tree when there is nowhere to put it.
func acquire(ctx context.Context, c *kube.Client, namespace string, how locking) (*lock, context.Context, error) {
	leases := c.Interface.CoordinationV1().Leases(namespace)
	me := how.holder.orThis()
	w := &waiting{me: me, until: time.Now().Add(how.wait), report: how.report}
	for {
		found, err := leases.Get(ctx, lockName, metav1.GetOptions{})
		fresh := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lockName, Namespace: namespace}}
		if err == nil {
			free, err := w.look(found, time.Now())
			if err == nil && !free {
				err = pause(ctx, lockPoll)
			}
			if err != nil {
				return nil, nil, err
			}
			if !free {
				continue
			}
			fresh = found
		} else if !apierrors.IsNotFound(err) {
			return nil, nil, c.Explain(fmt.Errorf("deploy lock: %w", err))
		}
		sent := time.Now()
		stamp(fresh, me, sent)
		var lease *coordinationv1.Lease
		if fresh.ResourceVersion == "" {
			lease, err = leases.Create(ctx, fresh, metav1.CreateOptions{FieldManager: kube.FieldManager})
			if gone := apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, "NamespaceTerminating"); gone {
				return nil, nil, fmt.Errorf("namespace %s: %w", namespace, errNoNamespace)
			}
		} else {
			lease, err = leases.Update(ctx, fresh, metav1.UpdateOptions{FieldManager: kube.FieldManager})
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			continue // somebody was faster: look again
		}
		if err != nil {
			return nil, nil, c.Explain(fmt.Errorf("deploy lock: %w", err))
		}
		w.done()
		return keepLock(ctx, c, lease, sent, how)
	}
}

func stamp(lease *coordinationv1.Lease, me Holder, now time.Time) {
	identity, seconds, micro := me.String(), int32(lockStale/time.Second), metav1.NewMicroTime(now)
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != identity {
		lease.Spec.AcquireTime = &micro
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &identity, &seconds, &micro
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[lockProcess], lease.Annotations[lockCommit] = processOf(me.PID), me.Commit
}

// waiting is somebody who wants the lock and looks at it again and again.
type waiting struct {
	me     Holder
	until  time.Time
	report progress.Reporter

	version string    // of the Lease when it was last seen to change
	since   time.Time // when that was seen, by this machine's clock
	told    string    // the holder that was reported
}

// look says whether the lock may be taken. It is an error when its holder lives and there is no time left to wait.
//
// A process of this machine is looked at. The heartbeat of any other is judged by this machine's clock alone, as nothing
// else is known of the holder's: it is dead when the Lease has not changed for 15 s. One whose last beat is said to be
// older than that needs to be seen silent for longer than a beat only.
func (w *waiting) look(lease *coordinationv1.Lease, now time.Time) (free bool, err error) {
	t := tenureOf(lease)
	if t == nil || t.String() == w.me.String() {
		return true, nil
	}
	if w.version != lease.ResourceVersion {
		w.version, w.since = lease.ResourceVersion, now
	}
	quiet, age := now.Sub(w.since), now.Sub(t.renewed)
	switch life := t.life(); {
	case life == dead, life == unknown && (quiet >= lockStale || age >= lockStale && quiet > lockBeat+time.Second):
		w.tell(t, progress.Warned, "taken over from "+t.text(now)+": it is gone")
		return true, nil
	case life == unknown && age >= lockStale:
		return false, nil // a moment more, and it is known
	}
	if !now.Before(w.until) {
		if w.told != "" {
			w.report.Report(progress.Event{ID: lockID, Status: progress.Failed, Text: "held by " + t.text(now)})
		}
		return false, fault.New(fault.Locked, "wait until it is done, as with --lock-wait 5m; the lock of a run that was killed is taken over",
			"another deploy of namespace %s is running: %s, last seen %s ago", lease.Namespace, t.text(now), max(0, age).Round(time.Second))
	}
	w.tell(t, progress.Working, "waiting for "+t.text(now))
	return false, nil
}

// tell reports a holder once.
func (w *waiting) tell(t *tenure, status progress.Status, text string) {
	if key := string(status) + t.String(); w.told != key {
		w.told = key
		w.report.Report(progress.Event{ID: lockID, Status: status, Text: text})
	}
}

// done ends what was reported.
func (w *waiting) done() {
	if w.told != "" {
		w.report.Report(progress.Event{ID: lockID, Status: progress.Done, Text: "taken"})
	}
}

// release gives the lock back by deleting the Lease, unless somebody else has it, or nobody answers.
func (l *lock) release(ctx context.Context) {
	l.cancel(nil)
	<-l.beating
	defer l.drop()
	if l.lost() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockBeat)
	defer cancel()
	// An error leaves a Lease that no longer beats, or that is not ours: the next run takes it over, or must not.
	_ = l.client.Interface.CoordinationV1().Leases(l.namespace).Delete(ctx, lockName, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &l.lease.UID, ResourceVersion: &l.lease.ResourceVersion},
	})
}
