package release

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/progress"
)

// hurried is a pace for tests. Its stale is longer than its patience, as tests of machines that are slow would wait for nothing.
func hurried(patience time.Duration) pace {
	return pace{beat: 200 * time.Millisecond, answer: time.Second, again: 50 * time.Millisecond, stale: time.Minute, patience: patience}
}

// connectGated is a client whose way to the API server leads through a gate.
func connectGated(t *testing.T) (*kube.Client, *apitest.Gate) {
	t.Helper()
	config := rest.CopyConfig(connect(t).REST)
	gate, err := apitest.NewGate(strings.TrimPrefix(config.Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gate.Close() }) // some tests have closed it
	config.Host = "https://" + gate.Addr
	c, err := kube.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Context = "prod"
	return c, gate
}

// begin executes the project in the background. The events are given to seen as well.
func begin(t *testing.T, c *kube.Client, w Wanted, o ExecuteOptions, seen func(progress.Event)) (*recorder, <-chan error) {
	t.Helper()
	observed, err := Observe(t.Context(), c, w.Project, w.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compare(w, observed)
	if err != nil {
		t.Fatal(err)
	}
	r, ended := &recorder{}, make(chan error, 1)
	both := progress.Func(func(e progress.Event) {
		r.Report(e)
		seen(e)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // so that a test that fails says so
	t.Cleanup(cancel)
	go func() { ended <- Execute(ctx, c, p, both, o) }()
	return r, ended
}

// TestServerFallsSilent loses the API server while a rollout or a migration is waited for. The run must end by itself, say what
// it saw last, and leave all to the next one.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	refuse := func(g *apitest.Gate) { go func() { _ = g.Close() }() } // it waits for connections to end
	tests := map[string]struct {
		lose    func(*apitest.Gate)
		migrate bool
		want    string
		why     string
	}{
		"it refuses":                  {refuse, false, "service web: 0/1 ready when it was last seen", "connection refused"},
		"it resets":                   {(*apitest.Gate).Reset, false, "service web: 0/1 ready when it was last seen", ""},
		"it is silent":                {(*apitest.Gate).Silence, false, "service web: 0/1 ready when it was last seen", "no answer comes"},
		"it is silent in a migration": {(*apitest.Gate).Silence, true, "job web-pre-start-0-web-1: not seen before the API server stopped answering", "no answer comes"},
		"it goes away in a migration": {refuse, true, "job web-pre-start-0-web-1: not seen before the API server stopped answering", "connection refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, ns := connect(t), strings.ReplaceAll(name, " ", "-")
			c, gate := connectGated(t)
			web := unit(t, "web", deployment("web", "web:1", 1))
			if test.migrate {
				web.Migrations = []*batchv1.Job{job("web-pre-start-0-web-1", ns, "migration", "web:1")}
			}
			w := Wanted{Project: "shop", Namespace: ns, Units: []Unit{web}}
			holder, end := another(t)
			o := ExecuteOptions{Timeout: time.Hour, Holder: holder, pace: hurried(2 * time.Second)}
			r, ended := begin(t, c, w, o, func(e progress.Event) {
				if e.Text == "0/1 ready" && e.ID == "service web" || e.Text == "waiting for a pod" {
					test.lose(gate)
				}
			})
			err := <-ended
			end()
			if fault.KindOf(err) != fault.Unreachable {
				t.Fatalf("error %v, want one of kind Unreachable", err)
			}
			for _, part := range []string{test.want, "(context prod): the API server has not answered for ", test.why} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q, want one with %q", err, part)
				}
			}
			if hint := fault.HintOf(err); !strings.HasPrefix(hint, "run the same command again") || !strings.HasSuffix(hint, "perch kubectl --context prod cluster-info") {
				t.Errorf("hint %q", hint)
			}
			told, failed := r.position(serverID, progress.Working), r.position(serverID, progress.Failed)
			if told < 0 || failed < told {
				t.Errorf("it was not told, or not in time: %v", r.events)
			}
			if test.migrate {
				if _, err := direct.Interface.BatchV1().Jobs(ns).Get(t.Context(), "web-pre-start-0-web-1", metav1.GetOptions{}); err != nil {
					t.Errorf("the Job that may run: %v", err)
				}
			}

			controllers(t, direct, ns)
			if err := repaired(t, direct, w); err != nil {
				t.Errorf("the next run: %v", err)
			}
		})
	}
}

// TestGap wants a run to go on over a gap in which nobody answers.
func TestGap(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*apitest.Gate){"reset": (*apitest.Gate).Reset, "silent": (*apitest.Gate).Silence} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, ns := connect(t), "gap-"+name
			c, gate := connectGated(t)
			w := Wanted{Project: "shop", Namespace: ns, Units: []Unit{unit(t, "web", deployment("web", "web:1", 1))}}
			back := make(chan struct{})
			r, ended := begin(t, c, w, ExecuteOptions{pace: hurried(time.Minute)}, func(e progress.Event) {
				switch {
				case e.ID == "service web" && e.Text == "0/1 ready":
					lose(gate)
				case e.ID == serverID && e.Status == progress.Working:
					gate.Pass()
				case e.ID == serverID:
					close(back)
				}
			})
			select {
			case <-back:
			case err := <-ended:
				t.Fatalf("it ended in the gap: %v", err)
			}
			controllers(t, direct, ns)
			if err := <-ended; err != nil {
				t.Errorf("after the gap: %v", err)
			}
			if r.last()[serverID] != progress.Done {
				t.Errorf("events %v", r.events)
			}
		})
	}
}

// TestForgottenConnection wants a lock to be renewed by a new connection when the one there was is silent and the server well.
func TestForgottenConnection(t *testing.T) {
	t.Parallel()
	direct, ns := connect(t), "forgotten"
	c, gate := connectGated(t)
	if _, err := direct.EnsureNamespace(t.Context(), kube.ProjectNamespace(ns, kube.Security{})); err != nil {
		t.Fatal(err)
	}
	back := make(chan struct{})
	report := progress.Func(func(e progress.Event) {
		if e.Status == progress.Done {
			close(back)
		}
	})
	l, held, err := acquire(t.Context(), c, ns, locking{report: report, pace: hurried(30 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	first := l.last()
	for !l.last().After(first) { // its connection is there from then on
		l.mu.Lock()
		next := l.next
		l.mu.Unlock()
		select {
		case <-next:
		case <-held.Done():
			t.Fatal(context.Cause(held))
		}
	}
	gate.Forget()
	select {
	case <-back:
	case <-held.Done():
		t.Errorf("it was given up: %v", context.Cause(held))
	}
	l.release(t.Context())
}

// sent is a RoundTripper that keeps requests until they are cancelled, or answers at once.
type sent struct {
	keep bool
	n    int
}

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.n++
	if s.keep {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// TestFence is what passes while a lock is fresh, stale, renewed and lost.
func TestFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		held, cancel := context.WithCancelCause(t.Context())
		l := &lock{held: held, cancel: cancel, pace: hurried(time.Hour), renewed: time.Now(), next: make(chan struct{})}
		to := &sent{}
		ask := func(method string) <-chan error {
			r, err := http.NewRequestWithContext(t.Context(), method, "https://server", bytes.NewReader(nil))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				response, err := l.fence(to).RoundTrip(r)
				if err == nil {
					err = response.Body.Close()
				}
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		passed := func(when string, want int, ended <-chan error) {
			t.Helper()
			if to.n != want {
				t.Errorf("%s: %d requests were sent, want %d", when, to.n, want)
			}
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		passed("fresh", 1, ask(http.MethodPatch))
		time.Sleep(l.pace.stale)
		waits := ask(http.MethodPatch)
		if to.n != 1 {
			t.Fatal("something was changed with a lock that is stale")
		}
		passed("stale, only read", 2, ask(http.MethodGet))
		l.mu.Lock()
		l.renewed = time.Now()
		close(l.next)
		l.next = make(chan struct{})
		l.mu.Unlock()
		synctest.Wait()
		passed("renewed", 3, waits)

		to.keep = true
		hangs := ask(http.MethodPost)
		cause := errors.New("lost")
		l.end(cause)
		for when, ended := range map[string]<-chan error{"on its way": hangs, "read": ask(http.MethodGet), "changed": ask(http.MethodPost)} {
			if err := <-ended; !errors.Is(err, cause) {
				t.Errorf("lost, %s: %v", when, err)
			}
		}
		if to.n != 4 {
			t.Errorf("%d requests were sent after the lock was lost", to.n-4)
		}
	})
}

// TestStaleAt knows a machine that slept by the calendar.
func TestStaleAt(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, test := range map[string]struct {
		now  time.Time
		want bool
	}{
		"just renewed":       {now, false},
		"a moment ago":       {now.Add(14 * time.Second), false},
		"long ago":           {now.Add(15 * time.Second), true},
		"slept":              {now.Round(0).Add(time.Hour), true},
		"the clock was back": {now.Round(0).Add(-time.Hour), false},
	} {
		if got := staleAt(now, test.now, 15*time.Second); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
