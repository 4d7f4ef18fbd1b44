package release

import (
	"context"
	"errors"
	"fmt"
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
	lockStale = 15 * time.Second       // after so long without a renewal the holder counts as dead
	lockPoll  = 250 * time.Millisecond // how often one that waits looks
)

// ErrLockLost is the cause with which an Execute ends when another run took its lock over.
var ErrLockLost = errors.New("the deploy lock was taken by another run")

// errNoNamespace says that the namespace in which the lock would be is gone, or going.
var errNoNamespace = errors.New("the namespace is gone")

// lock holds the deploy lock until release is called. Its context ends, with ErrLockLost as its cause, when the lock
// is lost.
type lock struct {
	client    *kube.Client
	namespace string
	lease     *coordinationv1.Lease
	cancel    context.CancelCauseFunc
	beating   chan struct{}
}

// locking says how the lock is taken.
type locking struct {
	holder Holder        // empty is this process
	wait   time.Duration // how long a living holder is waited for; 0: not at all
	report progress.Reporter
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
		stamp(fresh, me, time.Now())
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
		held, cancel := context.WithCancelCause(ctx)
		l := &lock{client: c, namespace: namespace, lease: lease, cancel: cancel, beating: make(chan struct{})}
		go l.beat(held, me)
		return l, held, nil
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

// beat renews the lock until the context ends. A renewal that does not get through is tried again; a conflict means
// that somebody took the lock.
func (l *lock) beat(ctx context.Context, me Holder) {
	defer close(l.beating)
	tick := time.NewTicker(lockBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := l.lease.DeepCopy()
		stamp(next, me, time.Now())
		lease, err := l.client.Interface.CoordinationV1().Leases(l.namespace).Update(ctx, next, metav1.UpdateOptions{FieldManager: kube.FieldManager})
		if apierrors.IsConflict(err) { // ours too, when the answer to the last beat was lost
			lease, err = l.mine(ctx, me, err)
		}
		switch {
		case err == nil:
			l.lease = lease
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			l.cancel(fault.New(fault.Locked, "run it again when the other one is done", "namespace %s: %w", l.namespace, ErrLockLost))
			return
		}
	}
}

// mine is the Lease as it is now if this process still holds it, else the given error.
func (l *lock) mine(ctx context.Context, me Holder, conflict error) (*coordinationv1.Lease, error) {
	found, err := l.client.Interface.CoordinationV1().Leases(l.namespace).Get(ctx, lockName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if t := tenureOf(found); found.UID == l.lease.UID && t != nil && t.String() == me.String() && t.process == l.lease.Annotations[lockProcess] {
		return found, nil
	}
	return nil, conflict
}

// release gives the lock back by deleting the Lease, unless somebody else has it.
func (l *lock) release(ctx context.Context) {
	l.cancel(nil)
	<-l.beating
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockBeat)
	defer cancel()
	// An error leaves a Lease that no longer beats, or that is not ours: the next run takes it over, or must not.
	_ = l.client.Interface.CoordinationV1().Leases(l.namespace).Delete(ctx, lockName, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &l.lease.UID, ResourceVersion: &l.lease.ResourceVersion},
	})
}
