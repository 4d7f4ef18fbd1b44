package release

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// atOnce is how a lock is taken that nobody is waited for.
func atOnce(h Holder) locking { return locking{holder: h, report: progress.Discard} }

// hold writes the lock of a holder whose last heartbeat was then.
func hold(t *testing.T, c *kube.Client, namespace string, h Holder, then time.Time) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lockName}}
	stamp(lease, h, then)
	if h.Host == "elsewhere" {
		lease.Annotations[lockProcess] = "another-boot/1 5"
	}
	if _, err := c.Interface.CoordinationV1().Leases(namespace).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// holdDead writes the lock of a process of this machine that was killed a moment ago.
func holdDead(t *testing.T, c *kube.Client, namespace string) {
	t.Helper()
	h, end := another(t)
	hold(t, c, namespace, h, time.Now())
	end()
}

// another is a process of this machine as a holder, and how to end it.
func another(t *testing.T) (h Holder, end func()) {
	t.Helper()
	p := exec.CommandContext(t.Context(), "sleep", "600")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h = Holder{}.orThis()
	h.PID = p.Process.Pid
	return h, func() {
		_ = p.Process.Kill()
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) {
			t.Error(err)
		}
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	tests := map[string]Holder{
		"root@host 7":            {User: "root", Host: "host", PID: 7},
		"host 7":                 {Host: "host", PID: 7},
		"me@example.com@host 12": {User: "me@example.com", Host: "host", PID: 12},
	}
	for text, h := range tests {
		if got := h.String(); got != text {
			t.Errorf("%+v is %q, want %q", h, got, text)
		}
		if diff := cmp.Diff(h, parseHolder(text)); diff != "" {
			t.Errorf("%q, -want +got:\n%s", text, diff)
		}
	}
	this := Holder{Commit: "abc"}.orThis()
	if this.Host == "" || this.User == "" || this.PID != os.Getpid() || this.Commit != "abc" {
		t.Errorf("this process is %+v", this)
	}
	if other := tests["host 7"]; other.orThis() != other {
		t.Error("a holder that is named is taken for this process")
	}
}

// TestLook is what may be done with a Lease, by who holds it, and how long it was seen not to change.
func TestLook(t *testing.T) {
	t.Parallel()
	this, end := another(t)
	gone, endGone := another(t)
	lease := func(h Holder, version string, renewed time.Time) *coordinationv1.Lease {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lockName, Namespace: "ns", ResourceVersion: version}}
		stamp(l, h, renewed)
		return l
	}
	begin := time.Now()
	ago := func(d time.Duration) time.Time { return begin.Add(-d) }
	elsewhere := Holder{User: "ann", Host: "elsewhere", PID: os.Getpid()}
	far := func(version string, renewed time.Time) *coordinationv1.Lease {
		l := lease(elsewhere, version, renewed)
		l.Annotations[lockProcess] = "another-boot/1 5"
		return l
	}
	left := lease(gone, "1", begin)
	reused := lease(this, "1", begin)
	reused.Annotations[lockProcess] += "1" // the same number, started at another time
	endGone()
	type sight struct {
		after time.Duration
		lease *coordinationv1.Lease
		want  string // free, held or refused
	}
	tests := map[string]struct {
		wait   time.Duration
		sights []sight
	}{
		"nobody has it":                                {0, []sight{{0, &coordinationv1.Lease{}, "free"}}},
		"I have it":                                    {0, []sight{{0, lease(Holder{Host: "me", PID: 1}, "1", ago(time.Hour)), "free"}}},
		"a process of this machine has it":             {0, []sight{{0, lease(this, "1", begin), "refused"}}},
		"it could not beat, but is there":              {0, []sight{{0, lease(this, "1", ago(time.Hour)), "refused"}}},
		"a process of this machine that is gone":       {0, []sight{{0, left, "free"}}},
		"another process has its number":               {0, []sight{{0, reused, "free"}}},
		"another machine has it":                       {0, []sight{{0, far("1", begin), "refused"}}},
		"another machine whose clock is ahead":         {0, []sight{{0, far("1", begin.Add(time.Hour)), "refused"}}},
		"another machine, silent as it seems":          {0, []sight{{0, far("1", ago(time.Minute)), "held"}, {7 * time.Second, far("1", ago(time.Minute)), "free"}}},
		"another machine whose clock is behind":        {0, []sight{{0, far("1", ago(time.Minute)), "held"}, {5 * time.Second, far("2", ago(55*time.Second)), "held"}, {7 * time.Second, far("2", ago(55*time.Second)), "held"}}},
		"waited for, it does not end":                  {10 * time.Second, []sight{{0, far("1", begin), "held"}, {9 * time.Second, far("2", begin), "held"}, {10 * time.Second, far("3", begin), "refused"}}},
		"waited for, it falls silent, its clock ahead": {time.Minute, []sight{{0, far("1", begin.Add(time.Hour)), "held"}, {14 * time.Second, far("1", begin.Add(time.Hour)), "held"}, {15 * time.Second, far("1", begin.Add(time.Hour)), "free"}}},
		"waited for, it ends":                          {time.Minute, []sight{{0, lease(this, "1", begin), "held"}, {time.Second, &coordinationv1.Lease{}, "free"}}},
	}
	for name, test := range tests {
		w := &waiting{me: Holder{Host: "me", PID: 1}, until: begin.Add(test.wait), report: progress.Discard}
		for i, s := range test.sights {
			free, err := w.look(s.lease, begin.Add(s.after))
			got := "held"
			if fault.KindOf(err) == fault.Locked {
				got = "refused"
			} else if free && err == nil {
				got = "free"
			}
			if got != s.want {
				t.Errorf("%s: at sight %d, after %s, it is %s, want %s (%v)", name, i, s.after, got, s.want, err)
			}
		}
	}
	end()
}

func TestLock(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "locked"
	if _, err := c.EnsureNamespace(t.Context(), kube.ProjectNamespace(ns, kube.Security{})); err != nil {
		t.Fatal(err)
	}
	me, other := Holder{Host: "here", PID: 1}, Holder{User: "ann", Host: "elsewhere", PID: 7, Commit: "1a2b3c4"}
	l, held, err := acquire(t.Context(), c, ns, atOnce(other))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = acquire(t.Context(), c, ns, atOnce(me))
	const who = "process 7 of ann on elsewhere, which deploys commit 1a2b3c4, begun "
	if fault.KindOf(err) != fault.Locked || !strings.Contains(err.Error(), who) {
		t.Errorf("error %v, want one of kind Locked that says %q", err, who)
	}
	l.release(t.Context())
	if held.Err() == nil {
		t.Error("the context of a released lock goes on")
	}
	l, _, err = acquire(t.Context(), c, ns, atOnce(me))
	if err != nil {
		t.Fatalf("a released lock cannot be taken: %v", err)
	}
	l.release(t.Context())

	hold(t, c, ns, other, time.Now().Add(-lockStale))
	r := &recorder{}
	l, _, err = acquire(t.Context(), c, ns, locking{holder: me, report: r})
	if err != nil {
		t.Fatalf("the lock of a dead holder cannot be taken: %v", err)
	}
	if r.position(lockID, progress.Warned) < 0 || r.last()[lockID] != progress.Done {
		t.Errorf("that was not told: %v", r.events)
	}
	l.release(t.Context())
}

// TestWaitForLock wants one that waits to be told for whom, and to have the lock as soon as that one gives it back.
func TestWaitForLock(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "waits"
	if _, err := c.EnsureNamespace(t.Context(), kube.ProjectNamespace(ns, kube.Security{})); err != nil {
		t.Fatal(err)
	}
	l, _, err := acquire(t.Context(), c, ns, atOnce(Holder{User: "ann", Host: "elsewhere", PID: 7}))
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	me, released := Holder{Host: "here", PID: 1}, false
	report := progress.Func(func(e progress.Event) {
		said.WriteString(string(e.Status) + " " + e.Text + "\n")
		if e.Status == progress.Working {
			released = true
			l.release(t.Context())
		}
	})
	second, _, err := acquire(t.Context(), c, ns, locking{holder: me, wait: time.Minute, report: report})
	if err != nil {
		t.Fatal(err)
	}
	second.release(t.Context())
	if !released || !strings.HasPrefix(said.String(), "working waiting for process 7 of ann on elsewhere, begun ") || !strings.HasSuffix(said.String(), "done taken\n") {
		t.Errorf("it said:\n%s", &said)
	}
}

// TestWaitForRemoval wants an up that waited for a down to make the namespace anew, and a down to find nothing to do.
func TestWaitForRemoval(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "never-there"
	_, _, err := acquire(t.Context(), c, ns, atOnce(Holder{}))
	if !errors.Is(err, errNoNamespace) {
		t.Errorf("without a namespace the error is %v", err)
	}
}

func TestLostLock(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "lost"
	if _, err := c.EnsureNamespace(t.Context(), kube.ProjectNamespace(ns, kube.Security{})); err != nil {
		t.Fatal(err)
	}
	l, held, err := acquire(t.Context(), c, ns, atOnce(Holder{Host: "here", PID: 1}))
	if err != nil {
		t.Fatal(err)
	}
	leases := c.Interface.CoordinationV1().Leases(ns)
	found, err := leases.Get(t.Context(), lockName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conflict := errors.New("conflict")
	if mine, err := l.mine(t.Context(), Holder{Host: "here", PID: 1}, conflict); err != nil || mine == nil {
		t.Errorf("its own lock is not known again: %v", err)
	}
	stamp(found, Holder{Host: "elsewhere", PID: 7}, time.Now())
	if _, err := leases.Update(t.Context(), found, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Done():
	case <-time.After(4 * lockBeat):
		t.Fatal("the run goes on with a lock that another one took")
	}
	l.release(t.Context())
	if _, err := leases.Get(t.Context(), lockName, metav1.GetOptions{}); err != nil {
		t.Errorf("the lock of the other one was taken away: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "at-once"
	if _, err := c.EnsureNamespace(t.Context(), kube.ProjectNamespace(ns, kube.Security{})); err != nil {
		t.Fatal(err)
	}
	hold(t, c, ns, Holder{Host: "elsewhere", PID: 7}, time.Now())
	_, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1"))
	if fault.KindOf(err) != fault.Locked {
		t.Errorf("error %v, want one of kind Locked", err)
	}
	if got := statuses(t, c, ns); len(got) > 0 {
		t.Errorf("releases %v came without the lock", got)
	}
}
