package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/progress"
)

// server is the one API server of the package's tests, started by the first test that needs it, so that the pure tests
// can be run without.
var server = sync.OnceValues(func() (*apitest.Server, error) {
	dir, err := os.MkdirTemp("", "perch-release-")
	if err != nil {
		return nil, err
	}
	return apitest.New(dir)
})

// used tells TestMain that there is a server to stop.
var used atomic.Bool

func TestMain(m *testing.M) {
	code := m.Run()
	if used.Load() {
		if s, err := server(); err == nil {
			err = errors.Join(s.Stop(), os.RemoveAll(filepath.Dir(s.Kubeconfig)))
			if err != nil {
				fmt.Fprintln(os.Stderr, "apitest:", err)
			}
		}
	}
	os.Exit(code)
}

func connect(t *testing.T) *kube.Client {
	t.Helper()
	used.Store(true)
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	c, err := kube.Load(kube.Options{Kubeconfig: s.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shop is a project with a database, a web service that migrates it, and a worker beside them.
func shop(t *testing.T, namespace, webImage, migration string) Wanted {
	t.Helper()
	web := unit(t, "web", deployment("web", webImage, 2, "web-env-1"))
	web.Config = []runtime.Object{settings("web-env-1", namespace, "web", map[string]string{"PORT": "4000"})}
	web.Migrations = []*batchv1.Job{job("web-pre-start-0-"+strings.ReplaceAll(migration, ":", "-"), namespace, "migration", migration)}
	web.DependsOn = []Dependency{{Service: "db", Condition: Healthy, Required: true}}
	return Wanted{
		Project: "shop", Namespace: namespace,
		Volumes: []runtime.Object{claim("db-data", namespace, "1Gi")},
		Units:   []Unit{web, unit(t, "db", deployment("db", "postgres:18", 1)), unit(t, "worker", deployment("worker", "worker:1", 1))},
	}
}

// deploy observes, compares and executes.
func deploy(t *testing.T, c *kube.Client, w Wanted) (Plan, *recorder, error) {
	t.Helper()
	return deployWith(t, c, w, ExecuteOptions{Timeout: time.Minute})
}

func deployWith(t *testing.T, c *kube.Client, w Wanted, options ExecuteOptions) (Plan, *recorder, error) {
	t.Helper()
	o, err := Observe(t.Context(), c, w.Project, w.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compare(w, o)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	return p, r, Execute(t.Context(), c, p, r, options)
}

// statuses is "REVISION STATUS" of each release.
func statuses(t *testing.T, c *kube.Client, namespace string) map[string]string {
	t.Helper()
	list, err := List(t.Context(), c, namespace)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range list {
		got[r.Name] = r.Status
	}
	return got
}

func TestDeployTwice(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "twice"
	controllers(t, c, ns)
	w := shop(t, ns, "web:1", "web:1")
	_, r, err := deploy(t, c, w)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]progress.Status{
		"namespace twice": progress.Done, "volume db-data": progress.Done, "migrate web": progress.Done,
		"service web": progress.Done, "service db": progress.Done, "service worker": progress.Done,
	}
	if diff := cmp.Diff(want, r.last()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	deployed := map[string]string{"shop-web": "deployed", "shop-db": "deployed", "shop-worker": "deployed"}
	if diff := cmp.Diff(deployed, statuses(t, c, ns)); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	_, err = c.Interface.CoordinationV1().Leases(ns).Get(t.Context(), lockName, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the lock is still there: %v", err)
	}

	begin := time.Now()
	p, r, err := deploy(t, c, w)
	t.Logf("unchanged: %s", time.Since(begin))
	if err != nil {
		t.Fatal(err)
	}
	if p.Changes() {
		t.Errorf("an unchanged project has the plan\n%s", p)
	}
	same := map[string]progress.Status{"service web": progress.Same, "service db": progress.Same, "service worker": progress.Same}
	if diff := cmp.Diff(same, r.last()); diff != "" {
		t.Errorf("events of the second run (-want +got):\n%s", diff)
	}
}

func TestMigrationFails(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "migration"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	w := shop(t, ns, "web:2", "fails:2")
	w.Units[2] = unit(t, "worker", deployment("worker", "worker:2", 1))
	_, r, err := deploy(t, c, w)
	if fault.KindOf(err) != fault.Migration {
		t.Fatalf("error %v, want one of kind Migration", err)
	}
	want := map[string]progress.Status{
		"migrate web": progress.Failed, "service web": progress.Failed, "service db": progress.Same, "service worker": progress.Done,
	}
	if diff := cmp.Diff(want, r.last()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	d, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; image != "web:1" {
		t.Errorf("web runs %s after its migration failed", image)
	}
	if _, err := c.Interface.BatchV1().Jobs(ns).Get(t.Context(), "web-pre-start-0-fails-2", metav1.GetOptions{}); err != nil {
		t.Errorf("the failed Job is not kept: %v", err)
	}

	p, _, err := deploy(t, c, shop(t, ns, "web:3", "web:3"))
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := p.step("prune"); len(s.prune) != 1 || s.prune[0].Name != "web-pre-start-0-fails-2" {
		t.Errorf("the plan prunes %v, want the failed Job:\n%s", s.prune, p)
	}
}

func TestRolloutFails(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "rollout"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, r, err := deploy(t, c, shop(t, ns, "broken:2", "web:1"))
	if fault.KindOf(err) != fault.Rollout {
		t.Fatalf("error %v, want one of kind Rollout", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s to see that an image is not there", took)
	}
	if text := "service web: pod web-2-x: image broken:2 cannot be pulled: not found"; err.Error() != text {
		t.Errorf("error %q, want %q", err, text)
	}
	if got := r.last()["service web"]; got != progress.Failed {
		t.Errorf("service web is %s", got)
	}
	if got := statuses(t, c, ns)["shop-web"]; got != "failed" {
		t.Errorf("the release is %s", got)
	}
	p, _, err := deploy(t, c, shop(t, ns, "web:3", "web:1"))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := p.step("upgrade web")
	if !strings.HasPrefix(s.Cause, "the last deploy failed; image changed web:1 → web:3") {
		t.Errorf("cause %q", s.Cause)
	}
	if got := statuses(t, c, ns)["shop-web"]; got != "deployed" {
		t.Errorf("the release is %s", got)
	}
}

func TestRolloutIsTakenBack(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "takeback"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	w := shop(t, ns, "broken:2", "web:1")
	w.Units[0].TakeBack = true
	_, _, err := deploy(t, c, w)
	if fault.KindOf(err) != fault.RolledBack {
		t.Fatalf("error %v, want one of kind RolledBack", err)
	}
	if text := "service web: pod web-2-x: image broken:2 cannot be pulled: not found; rolled back to revision 1"; err.Error() != text {
		t.Errorf("error %q, want %q", err, text)
	}
	list, err := List(t.Context(), c, ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Service == "web" && (r.Status != "deployed" || r.Revision != 3) {
			t.Errorf("release %+v", r)
		}
	}
	live, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := live.Spec.Template.Spec.Containers[0].Image; image != "web:1" {
		t.Errorf("image %s", image)
	}
}

func TestInterruptedRelease(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "interrupted"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	// What a run leaves that is killed while it waits for web.
	h, err := newHelm(c, ns, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := h.storage(t.Context())
	last, err := s.Last("shop-web")
	if err != nil {
		t.Fatal(err)
	}
	killed := *last.(*helmrelease.Release)
	info := *killed.Info
	killed.Version, killed.Info = 2, &info
	killed.SetStatus(helmstatus.StatusPendingUpgrade, "Preparing upgrade")
	if err := s.Create(&killed); err != nil {
		t.Fatal(err)
	}
	holdDead(t, c, ns)

	p, _, err := deploy(t, c, shop(t, ns, "web:2", "web:1"))
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := p.step("upgrade web"); s.Cause != "the last deploy was interrupted" {
		t.Errorf("cause %q", s.Cause)
	}
	if got := statuses(t, c, ns)["shop-web"]; got != "deployed" {
		t.Errorf("the release is %s", got)
	}
}

func TestHistoryAndPrune(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "history"
	controllers(t, c, ns)
	const deploys, kept = 6, 3
	for i := range deploys {
		name := fmt.Sprintf("app-env-%d", i)
		u := unit(t, "app", deployment("app", "app:1", 1, name))
		u.Config = []runtime.Object{settings(name, ns, "app", map[string]string{"I": fmt.Sprint(i)})}
		w := Wanted{Project: "shop", Namespace: ns, Units: []Unit{u}}
		p, _, err := deployWith(t, c, w, ExecuteOptions{HistoryMax: kept})
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := p.step("upgrade app"); i > 0 && s.Cause != "environment variable I changed" {
			t.Errorf("cause %q", s.Cause)
		}
	}
	revisions, err := revisions(t.Context(), c, ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(revisions) != kept {
		t.Errorf("%d revisions are kept, want %d", len(revisions), kept)
	}
	o, err := Observe(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range revisions {
		if name := fmt.Sprintf("app-env-%d", r.Version-1); !hasConfig(o, name) {
			t.Errorf("revision %d is kept, and its config %s is gone", r.Version, name)
		}
	}
	if hasConfig(o, "app-env-0") || hasConfig(o, "app-env-1") {
		t.Error("config that no revision needs is still there")
	}
	var used kube.Used
	if err := AddKept(t.Context(), c, &used); err != nil || !slices.Contains(used.Images(), "app:1") {
		t.Errorf("kept revisions have the images %v, %v", used.Images(), err)
	}
}

func hasConfig(o Observed, name string) bool {
	_, there := o.Config[Ref{"ConfigMap", name}]
	return there
}

func TestRemove(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "removed"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	if err := Remove(t.Context(), c, "shop", ns, RemoveOptions{Timeout: time.Minute}, r); err != nil {
		t.Fatal(err)
	}
	want := map[string]progress.Status{
		"service web": progress.Done, "service db": progress.Done, "service worker": progress.Done,
		"volume db-data": progress.Same, "namespace removed": progress.Same,
	}
	if diff := cmp.Diff(want, r.last()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if db, web := r.position("service db", progress.Done), r.position("service web", progress.Done); db < web {
		t.Error("db was removed before web, which depends on it")
	}
	o, err := Observe(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Releases)+len(o.Config)+len(o.Jobs)+len(o.Workloads) > 0 {
		t.Errorf("left: %v %v %v %v", o.Releases, o.Config, o.Jobs, o.Workloads)
	}
	if len(o.Volumes) != 1 {
		t.Errorf("volumes %v, want the one that was there", o.Volumes)
	}
	// Once more, with nothing there, and for a project that never was.
	for _, namespace := range []string{ns, "never-was"} {
		if err := Remove(t.Context(), c, "shop", namespace, RemoveOptions{}, r); err != nil {
			t.Errorf("removing nothing in %s: %v", namespace, err)
		}
	}
}
