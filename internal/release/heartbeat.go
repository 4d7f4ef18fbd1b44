package release

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// serverID is of the events that say that the API server does not answer.
const serverID = "API server"

// pace is how a lock is kept, and how long a run goes on that cannot keep it.
type pace struct {
	beat     time.Duration // from one renewal to the next
	answer   time.Duration // how long one may take
	again    time.Duration // from one that did not get through to the next
	stale    time.Duration // after so long without one, nothing is changed until one gets through
	patience time.Duration // after so long without one, the run ends
}

// orUsual is the pace of real runs when none is given. A restart of the embedded node takes up to 13 s, and comes up to a beat
// after the last renewal.
func (p pace) orUsual() pace {
	if p != (pace{}) {
		return p
	}
	return pace{beat: lockBeat, answer: lockBeat, again: time.Second, stale: lockStale, patience: 30 * time.Second}
}

// keepLock keeps the lock that was just taken with a Lease that was sent then.
func keepLock(ctx context.Context, c *kube.Client, lease *coordinationv1.Lease, sent time.Time, how locking) (*lock, context.Context, error) {
	apart, drop, err := c.Apart()
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancelCause(ctx)
	l := &lock{
		client: apart, drop: drop, namespace: lease.Namespace, lease: lease, held: held, cancel: cancel,
		beating: make(chan struct{}), pace: how.pace.orUsual(), report: how.report, renewed: sent, next: make(chan struct{}),
	}
	if l.through, err = c.Through(l.fence); err != nil {
		cancel(nil)
		return nil, nil, err
	}
	go l.beat(how.holder.orThis())
	return l, held, nil
}

// beat renews the lock until it is released or lost. What does not get through is tried again, by a new connection: the one
// there was may have fallen silent while the server is well. So this is also how a run notices that nobody answers.
func (l *lock) beat(me Holder) {
	defer close(l.beating)
	next := time.NewTimer(l.pace.beat)
	defer next.Stop()
	silent := false
	for {
		select {
		case <-l.held.Done():
			return
		case <-next.C:
		}
		err := l.renew(me)
		quiet := time.Since(l.last())
		switch {
		case l.held.Err() != nil:
			return
		case err == nil:
			if silent {
				l.report.Report(progress.Event{ID: serverID, Status: progress.Done, Text: "answers again"})
			}
			silent = false
			next.Reset(l.pace.beat)
			continue
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			l.end(fault.New(fault.Locked, "run it again when the other one is done", "namespace %s: %w", l.namespace, ErrLockLost))
			return
		case quiet >= l.pace.patience:
			text := fmt.Sprintf("has not answered for %s", quiet.Round(time.Second))
			l.report.Report(progress.Event{ID: serverID, Status: progress.Failed, Text: text})
			l.end(l.client.Silent(quiet, err))
			return
		}
		if !silent {
			l.report.Report(progress.Event{ID: serverID, Status: progress.Working, Text: "does not answer; trying again"})
		}
		silent = true
		l.drop()
		next.Reset(l.pace.again)
	}
}

// renew renews the lock once. A conflict is the error when somebody else has it.
func (l *lock) renew(me Holder) error {
	ctx, cancel := context.WithTimeout(l.held, l.pace.answer)
	defer cancel()
	leases := l.client.Interface.CoordinationV1().Leases(l.namespace)
	for {
		sent := time.Now()
		next := l.lease.DeepCopy()
		stamp(next, me, sent)
		lease, err := leases.Update(ctx, next, metav1.UpdateOptions{FieldManager: kube.FieldManager})
		if apierrors.IsConflict(err) { // ours too, when the answer to the last beat was lost
			if l.lease, err = l.mine(ctx, me, err); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		l.lease = lease
		l.mu.Lock()
		l.renewed = sent
		close(l.next)
		l.next = make(chan struct{})
		l.mu.Unlock()
		return nil
	}
}

// mine is the Lease as it is now if this process still holds it, else the one there was and an error.
func (l *lock) mine(ctx context.Context, me Holder, conflict error) (*coordinationv1.Lease, error) {
	found, err := l.client.Interface.CoordinationV1().Leases(l.namespace).Get(ctx, lockName, metav1.GetOptions{})
	if err != nil {
		return l.lease, err
	}
	if t := tenureOf(found); found.UID == l.lease.UID && t != nil && t.String() == me.String() && t.process == l.lease.Annotations[lockProcess] {
		return found, nil
	}
	return l.lease, conflict
}

// end says that the lock is not ours any more.
func (l *lock) end(cause error) {
	l.mu.Lock()
	l.ended = cause
	l.mu.Unlock()
	l.cancel(cause)
}

// lost is why the lock is not ours any more, nil when it is or was given back.
func (l *lock) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

func (l *lock) last() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed
}
