package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// The deploy lock: one Lease in the project's namespace.
const (
	lockName  = "perch-deploy"
	lockBeat  = 5 * time.Second  // how often the holder renews it
	lockStale = 15 * time.Second // from which age of the last renewal on the holder counts as dead
)

// ErrLockLost is the cause with which an Execute ends when another run took its lock over.
var ErrLockLost = errors.New("the deploy lock was taken by another run")

// Holder says who holds the deploy lock.
type Holder struct {
	Host string
	PID  int
}

// String is the Lease's holderIdentity: "HOST PID".
func (h Holder) String() string { return h.Host + " " + strconv.Itoa(h.PID) }

func parseHolder(s string) Holder {
	host, pid, _ := strings.Cut(s, " ")
	n, _ := strconv.Atoi(pid)
	return Holder{host, n}
}

// orThis is h, or this process when h is empty.
func (h Holder) orThis() Holder {
	if h != (Holder{}) {
		return h
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return Holder{host, os.Getpid()}
}

// dead tells whether the holder is known to have ended: a process of this host that is no longer there.
func (h Holder) dead(me Holder) bool {
	return h.Host == me.Host && h.PID > 0 && h.PID != me.PID && errors.Is(syscall.Kill(h.PID, 0), syscall.ESRCH)
}

// lock holds the deploy lock until release is called. Its context ends, with ErrLockLost as its cause, when the lock
// is lost.
type lock struct {
	client    *kube.Client
	namespace string
	lease     *coordinationv1.Lease
	cancel    context.CancelCauseFunc
	beating   chan struct{}
}

// acquire takes the lock, over from a dead holder too, and keeps renewing it. A living holder is a fault.Error of kind
// Locked.
func acquire(ctx context.Context, c *kube.Client, namespace string, me Holder) (*lock, context.Context, error) {
	leases := c.Interface.CoordinationV1().Leases(namespace)
	for {
		found, err := leases.Get(ctx, lockName, metav1.GetOptions{})
		fresh := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lockName, Namespace: namespace}}
		if err == nil {
			if held := living(found, me, time.Now()); held != nil {
				return nil, nil, held
			}
			fresh = found
		} else if !apierrors.IsNotFound(err) {
			return nil, nil, c.Explain(fmt.Errorf("deploy lock: %w", err))
		}
		stamp(fresh, me, time.Now())
		var lease *coordinationv1.Lease
		if fresh.ResourceVersion == "" {
			lease, err = leases.Create(ctx, fresh, metav1.CreateOptions{FieldManager: kube.FieldManager})
		} else {
			lease, err = leases.Update(ctx, fresh, metav1.UpdateOptions{FieldManager: kube.FieldManager})
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			continue // somebody was faster: look again
		}
		if err != nil {
			return nil, nil, c.Explain(fmt.Errorf("deploy lock: %w", err))
		}
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
}

// living is the error for a lock whose holder lives, nil when it is free for me.
func living(lease *coordinationv1.Lease, me Holder, now time.Time) error {
	s := lease.Spec
	if s.HolderIdentity == nil || *s.HolderIdentity == "" || s.RenewTime == nil {
		return nil
	}
	holder, age := parseHolder(*s.HolderIdentity), now.Sub(s.RenewTime.Time)
	if holder == me || age >= lockStale || holder.dead(me) {
		return nil
	}
	return fault.New(fault.Locked, "wait until it is done; a run that was killed loses the lock after 15s",
		"another deploy of namespace %s is running: process %d on %s, last seen %s ago",
		lease.Namespace, holder.PID, holder.Host, max(0, age).Round(time.Second))
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
		switch {
		case err == nil:
			l.lease = lease
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			l.cancel(fault.New(fault.Locked, "run it again when the other one is done", "namespace %s: %w", l.namespace, ErrLockLost))
			return
		}
	}
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
