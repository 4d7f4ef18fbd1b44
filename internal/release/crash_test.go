package release

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

var errKilled = errors.New("killed")

// mortal lets so many changes through to the API server and then nothing at all, as if the process had been killed right
// after the last of them: no deferred function of it can tidy up.
type mortal struct {
	next  http.RoundTripper
	left  *atomic.Int64
	ended func()
	what  *atomic.Value // the last change
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	changes := r.Method != http.MethodGet
	if m.left.Load() <= 0 {
		return nil, errKilled
	}
	if !changes {
		return m.next.RoundTrip(r)
	}
	left := m.left.Add(-1)
	if left < 0 {
		return nil, errKilled
	}
	m.what.Store(r.Method + " " + r.URL.Path)
	response, err := m.next.RoundTrip(r)
	if left == 0 {
		m.ended()
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, errKilled // the answer finds nobody
	}
	return response, err
}

// connectMortal is a client that dies after so many changes. Its context ends with it.
func connectMortal(t *testing.T, changes int) (context.Context, *kube.Client, mortal) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	m := mortal{left: &atomic.Int64{}, what: &atomic.Value{}, ended: func() { cancel(errKilled) }}
	m.left.Store(int64(changes))
	config := rest.CopyConfig(connect(t).REST)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		one := m
		one.next = next
		return one
	})
	c, err := kube.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	return ctx, c, m
}

// oneRevision keeps so little that each deploy has something to prune.
func oneRevision(h Holder) ExecuteOptions {
	return ExecuteOptions{Timeout: time.Minute, HistoryMax: 1, Holder: h}
}

// version is the project in one of its versions, which differ in image, migration and config.
func version(t *testing.T, namespace string, n int) Wanted {
	t.Helper()
	w := shop(t, namespace, fmt.Sprintf("web:%d", n), fmt.Sprintf("web:%d", n))
	name := fmt.Sprintf("web-env-%d", n)
	web := unit(t, "web", deployment("web", fmt.Sprintf("web:%d", n), 2, name))
	web.Config = []runtime.Object{settings(name, namespace, "web", map[string]string{"PORT": fmt.Sprint(4000 + n)})}
	web.Migrations, web.DependsOn = w.Units[0].Migrations, w.Units[0].DependsOn
	w.Units[0] = web
	return w
}

// killed acts as a process that is killed after so many changes and is not there any more. It says what the last change
// was; survived, that there were not so many.
func killed(t *testing.T, changes int, act func(ctx context.Context, c *kube.Client, h Holder) error) (last string, survived bool) {
	t.Helper()
	h, end := another(t)
	ctx, c, m := connectMortal(t, changes)
	err := act(ctx, c, h)
	end()
	last, _ = m.what.Load().(string)
	return last, err == nil && m.left.Load() > 0
}

// repaired deploys, and wants that nothing is pending, that nobody is locked out, and that another run finds nothing to do.
func repaired(t *testing.T, c *kube.Client, w Wanted) error {
	t.Helper()
	if _, _, err := deployWith(t, c, w, oneRevision(Holder{})); err != nil {
		return err
	}
	for name, status := range statuses(t, c, w.Namespace) {
		if status != "deployed" {
			return fmt.Errorf("release %s is %s", name, status)
		}
	}
	l, _, err := acquire(t.Context(), c, w.Namespace, atOnce(Holder{}))
	if err != nil {
		return err
	}
	l.release(t.Context())
	p, _, err := deployWith(t, c, w, oneRevision(Holder{}))
	for _, s := range p.Steps {
		if s.Kind != Unchanged && s.Kind != Prune { // what to prune is known once a revision has gone
			return fmt.Errorf("another run does not find it done:\n%s", p)
		}
	}
	return err
}

// TestKilledAnywhere kills a first deploy, an upgrade and a removal after each change that it makes: the namespace, the
// lock, each object, each step of Helm. The next deploy must succeed and leave nothing half done.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	c := connect(t)
	run := func(w Wanted) func(context.Context, *kube.Client, Holder) error {
		return func(ctx context.Context, c *kube.Client, h Holder) error {
			o, err := Observe(ctx, c, w.Project, w.Namespace)
			if err != nil {
				return err
			}
			p, err := Compare(w, o)
			if err != nil {
				return err
			}
			return Execute(ctx, c, p, progress.Discard, oneRevision(h))
		}
	}
	tests := []struct {
		name   string
		before int // versions that were deployed before
		act    func(w Wanted) func(context.Context, *kube.Client, Holder) error
		passes []string // some of what it must have been killed at
	}{
		{"install", 0, run, []string{"/leases", "/configmaps/", "/jobs", "/secrets", "/deployments/web", "/secrets/sh.helm.release.v1.shop-web.v1"}},
		{"upgrade", 2, run, []string{"/leases", "/configmaps/", "/jobs", "/secrets", "/deployments/web", "/secrets/sh.helm.release.v1.shop-web.v3"}},
		{"removal", 1, func(w Wanted) func(context.Context, *kube.Client, Holder) error {
			return func(ctx context.Context, c *kube.Client, h Holder) error {
				return Remove(ctx, c, w.Project, w.Namespace, RemoveOptions{Timeout: time.Minute, Holder: h}, progress.Discard)
			}
		}, []string{"/leases", "/secrets/sh.helm.release.v1.shop-web.v1", "/deployments/web"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var points []string
			for changes := 1; ; changes++ {
				ns := fmt.Sprintf("killed-%s-%d", test.name, changes)
				controllers(t, c, ns)
				for n := range test.before {
					if _, _, err := deployWith(t, c, version(t, ns, n+1), oneRevision(Holder{})); err != nil {
						t.Fatal(err)
					}
				}
				w := version(t, ns, test.before+1)
				last, survived := killed(t, changes, test.act(w))
				if survived {
					break
				}
				points = append(points, last)
				if err := repaired(t, c, w); err != nil {
					t.Errorf("after it was killed with change %d (%s): %v", changes, last, err)
				}
			}
			all := strings.Join(points, "\n")
			t.Logf("killed at %d points:\n%s", len(points), all)
			// Steps side by side come in any order, so that one of them may be missed in a run.
			for _, one := range test.passes {
				if !strings.Contains(all, one) {
					t.Logf("not killed at %s this time", one)
				}
			}
			if len(points) < len(test.passes) {
				t.Errorf("killed at %d points only", len(points))
			}
		})
	}
}
