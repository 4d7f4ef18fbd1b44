package release

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	helmkube "helm.sh/helm/v4/pkg/kube"
	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// old is a kept revision: "web v3 d2 superseded x", a service, its revision, the deploy that made it (d0: none of Perch),
// Helm's status and the content. More words are annotations or, in the end, a description after a colon.
func old(t *testing.T, text string) *helmrelease.Release {
	t.Helper()
	head, description, _ := strings.Cut(text, ": ")
	words := strings.Fields(head)
	number := func(word string) int {
		n, err := strconv.Atoi(word[1:])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	version, deploy := number(words[1]), number(words[2])
	notes := map[string]string{projectAnnotation: "shop", serviceAnnotation: words[0], digestAnnotation: words[4], deployAnnotation: strconv.Itoa(deploy)}
	if deploy > 0 {
		notes[revisionAnnotation] = strconv.Itoa(version)
	}
	for _, w := range words[5:] {
		name, value, _ := strings.Cut(w, "=")
		notes["perch.dev/"+name] = strings.ReplaceAll(value, "_", " ")
	}
	if description == "" {
		description = "Upgrade complete"
	}
	return &helmrelease.Release{
		Name: "shop-" + words[0], Version: version, Manifest: words[4],
		Chart: &chartv2.Chart{Metadata: &chartv2.Metadata{AppVersion: words[4], Annotations: notes}},
		Info: &helmrelease.Info{
			Status: helmstatus.Status(words[3]), Description: description, LastDeployed: time.Unix(int64(1000*version), 0),
			RollbackRevision: rollbackOf(description),
		},
	}
}

func rollbackOf(description string) int {
	if strings.HasPrefix(strings.ToLower(description), "rollback to") {
		return 1
	}
	return 0
}

func olds(t *testing.T, lines string) []*helmrelease.Release {
	t.Helper()
	var all []*helmrelease.Release
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, old(t, line))
		}
	}
	return all
}

// shown is deploys, a line each.
func shown(deploys []Deploy) string {
	var b strings.Builder
	for _, d := range deploys {
		fmt.Fprintf(&b, "%d %s by=%q commit=%q schema=%q", d.Number, d.Status, d.By, d.Commit, d.Schema)
		if d.RollbackTo > 0 {
			fmt.Fprintf(&b, " back to %d", d.RollbackTo)
		}
		for _, s := range d.Services {
			fmt.Fprintf(&b, " %s:%d:%s", s.Service, s.Revision, s.Version)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestHistoryIsFolded(t *testing.T) {
	t.Parallel()
	all := olds(t, `
		db  v1 d1 deployed   pg by=ann@one commit=c1
		web v1 d1 superseded a by=ann@one commit=c1 schema=goose_1
		web v2 d2 failed     b by=bob@two commit=c2 schema=goose_2: Upgrade "shop-web" failed: crash loop
		web v3 d3 failed     c by=bob@two commit=c3: Upgrade "shop-web" failed: crash loop
		web v4 d3 superseded a by=bob@two commit=c1: rollback to 1: the rollout failed
		web v5 d4 superseded d by=bob@two commit=c4 schema=goose_3
		web v6 d5 superseded a by=ann@one commit=c1 rollback-to=1 schema=goose_3: rollback to 1
		web v7 d0 deployed   d by=bob@two commit=c4 deploy=4 revision=5: Rollback to 5
		web v8 d6 pending-upgrade e by=ann@one commit=c6: Preparing upgrade
	`)
	want := `1 deployed by="ann@one" commit="c1" schema="goose 1" db:1:pg web:1:a
2 failed by="bob@two" commit="c2" schema="goose 2" web:2:b
3 rolled back by="bob@two" commit="c3" schema="" web:4:a
4 superseded by="bob@two" commit="c4" schema="goose 3" web:5:d
5 superseded by="ann@one" commit="c1" schema="goose 3" back to 1 web:6:a
0 deployed by="" commit="c4" schema="" web:7:d
6 pending by="ann@one" commit="c6" schema="" web:8:e
`
	if diff := cmp.Diff(want, shown(history(all, "shop"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	slices.Reverse(all)
	if diff := cmp.Diff(want, shown(history(all, ""))); diff != "" {
		t.Errorf("in another order: -want +got:\n%s", diff)
	}
	if got := history(all, "another"); len(got) > 0 {
		t.Errorf("another project has %v", got)
	}
	if got := nextDeploy(all, "shop"); got != 7 {
		t.Errorf("the next deploy is %d", got)
	}
}

func TestPlanRollback(t *testing.T) {
	t.Parallel()
	const several = `
		db  v1 d1 superseded pg15
		web v1 d1 superseded a requires=Job/m1 schema=goose_1
		web v2 d2 superseded b requires=Job/m2 schema=goose_2
		db  v2 d3 deployed   pg16
		web v3 d3 deployed   c requires=Job/m3
		new v1 d3 deployed   n
	`
	for name, c := range map[string]struct {
		revisions string
		to        int
		want      string // a line for each service, or the error
	}{
		"to the one before": {several, 0, "to 2: db rollback 1, new left, web rollback 2 (goose 2)"},
		"further back":      {several, 1, "to 1: db rollback 1, new left, web rollback 1 (goose 1)"},
		"to the newest":     {several, 3, "to 3: db unchanged 2, new unchanged 1, web unchanged 3 ()"},
		"none yet":          {"", 0, "there is no deploy to go back to"},
		"only one":          {"web v1 d1 deployed a", 0, "there is no deploy to go back to"},
		"not there":         {several, 4, "there is no deploy 4: the newest is 3"},
		"negative":          {several, -1, "there is no deploy -1: the newest is 3"},
		"a failed one is passed over": {`
			web v1 d1 deployed a
			web v2 d2 failed   b: Upgrade "shop-web" failed: x
			web v3 d3 failed   c: Upgrade "shop-web" failed: x`, 2, "to 2: web rollback 1"},
		"a first one that failed was not there": {`
			db  v1 d1 deployed pg
			web v1 d1 superseded a: Release "shop-web" failed: x
			web v2 d2 deployed b`, 1, "to 1: db unchanged 1, web left"},
		"what was taken back to": {`
			web v1 d1 superseded a
			web v2 d2 failed     b: Upgrade "shop-web" failed: x
			web v3 d2 superseded a: rollback to 1: the rollout failed
			web v4 d3 deployed   c`, 2, "to 2: web rollback 3"},
		"back at that content already": {`
			web v1 d1 superseded a
			web v2 d2 superseded b
			web v3 d3 deployed   a rollback-to=1: rollback to 1`, 1, "to 1: web unchanged 1"},
		"forth again": {`
			web v1 d1 superseded a
			web v2 d2 superseded b
			web v3 d3 deployed   a rollback-to=1: rollback to 1`, 0, "to 2: web rollback 2"},
		"the last one was killed": {`
			web v1 d1 deployed a
			web v2 d2 pending-upgrade a: Preparing upgrade`, 1, "to 1: web rollback 1"},
		"pruned": {`
			db  v1 d1 deployed   pg
			web v4 d4 superseded d
			web v5 d5 superseded e
			web v6 d6 deployed   f`, 2, "deploy 2 cannot be brought back: the revision of service web that it had is no longer kept; the oldest that can be had is 4"},
		"plain helm rolled back": {`
			web v1 d1 superseded a
			web v2 d2 superseded b
			web v3 d0 deployed   a deploy=1 revision=1: Rollback to 1`, 2, "to 2: web rollback 2"},
		"what plain helm rolled back was there at the next deploy": {`
			web v1 d1 superseded a
			web v2 d2 superseded b
			web v3 d0 superseded a deploy=1 revision=1: Rollback to 1
			db  v1 d3 deployed   pg
			web v4 d4 deployed   c`, 3, "to 3: db unchanged 1, web rollback 3"},
		"from before deploys had numbers": {`
			db  v1 d0 deployed   pg
			web v1 d0 superseded a
			web v2 d1 superseded b
			web v3 d2 deployed   c`, 1, "to 1: db unchanged 1, web rollback 2"},
	} {
		rb, err := planRollback(olds(t, c.revisions), "shop", c.to)
		got := fmt.Sprintf("to %d: ", rb.To)
		for i, s := range rb.Services {
			if i > 0 {
				got += ", "
			}
			got += s.Service + " " + string(s.Does)
			if s.Revision > 0 {
				got += fmt.Sprintf(" %d", s.Revision)
			}
			if s.Schema != "" || strings.HasPrefix(s.Version, "c") && s.Service == "web" {
				got += " (" + s.Schema + ")"
			}
		}
		if err != nil {
			got = err.Error()
			if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
				t.Errorf("%s: error %v of kind %v without a hint", name, err, fault.KindOf(err))
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// ann is who deploys in the tests.
func ann(commit string) ExecuteOptions {
	return ExecuteOptions{Timeout: time.Minute, Holder: Holder{User: "ann", Host: "here", PID: 1, Commit: commit}}
}

// versions is a schema that is at each call one further, as "goose 0", "goose 1", …
func versions() func(context.Context, string) string {
	n := make(chan int, 1)
	n <- 0
	return func(_ context.Context, service string) string {
		i := <-n
		n <- i + 1
		return fmt.Sprintf("goose %d", i)
	}
}

func TestDeploysAreNumbered(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "numbered"
	controllers(t, c, ns)
	schema := versions()
	one := func(w Wanted, commit string) {
		t.Helper()
		o := ann(commit)
		o.Schema = schema
		if _, _, err := deployWith(t, c, w, o); err != nil {
			t.Fatal(err)
		}
	}
	one(shop(t, ns, "web:1", "web:1"), "c1")
	one(shop(t, ns, "web:1", "web:1"), "c1") // changes nothing, and is no deploy
	one(shop(t, ns, "web:2", "web:2"), "c2-dirty")
	one(shop(t, ns, "web:3", "web:2"), "c3") // no migration runs: it is not asked before
	got, err := History(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		for j := range got[i].Services {
			got[i].Services[j].Version = "-"
		}
	}
	want := `1 deployed by="ann@here" commit="c1" schema="goose 1" db:1:- web:1:- worker:1:-
2 superseded by="ann@here" commit="c2-dirty" schema="goose 3" web:2:-
3 deployed by="ann@here" commit="c3" schema="goose 4" web:3:-
`
	if diff := cmp.Diff(want, shown(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	before := []string{got[0].SchemaBefore, got[1].SchemaBefore, got[2].SchemaBefore}
	if diff := cmp.Diff([]string{"goose 0", "goose 2", ""}, before); diff != "" {
		t.Errorf("before the migrations: -want +got:\n%s", diff)
	}
	if !got[2].Time.After(got[0].Time) || time.Since(got[2].Time) > time.Minute {
		t.Errorf("the deploys are of %s and %s", got[0].Time, got[2].Time)
	}
}

// rollBack plans and executes a rollback.
func rollBack(t *testing.T, c *kube.Client, namespace string, to int, o ExecuteOptions) (Rollback, *recorder, error) {
	t.Helper()
	rb, err := PlanRollback(t.Context(), c, "shop", namespace, to)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	return rb, r, ExecuteRollback(t.Context(), c, rb, r, o)
}

func webImage(t *testing.T, c *kube.Client, namespace string) string {
	t.Helper()
	d, err := c.Interface.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

func TestRollback(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "rollback"
	controllers(t, c, ns)
	first := shop(t, ns, "web:1", "web:1")
	second := shop(t, ns, "web:2", "web:2")
	second.Units[1] = unit(t, "db", deployment("db", "postgres:19", 1))
	second.Units = append(second.Units, unit(t, "new", deployment("new", "new:1", 1)))
	for i, w := range []Wanted{first, second} {
		if _, _, err := deployWith(t, c, w, ann(fmt.Sprintf("c%d", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	jobs := jobsOf(t, c, ns)
	o := ann("")
	o.Schema = func(context.Context, string) string { return "goose 2" }
	rb, r, err := rollBack(t, c, ns, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	if rb.To != 1 || rb.From != 2 || !rb.Changes() {
		t.Errorf("the rollback is %+v", rb)
	}
	if got := webImage(t, c, ns); got != "web:1" {
		t.Errorf("web runs %s", got)
	}
	want := map[string]progress.Status{
		"service web": progress.Done, "service db": progress.Done, "service worker": progress.Same, "service new": progress.Same,
	}
	if diff := cmp.Diff(want, r.last()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if db, web := r.position("service db", progress.Done), r.position("service web", progress.Working); web < db {
		t.Error("web began before db, which it depends on, was ready")
	}
	if diff := cmp.Diff(jobs, jobsOf(t, c, ns)); diff != "" {
		t.Errorf("a migration ran: -before +after:\n%s", diff)
	}
	if _, err := c.Interface.CoordinationV1().Leases(ns).Get(t.Context(), lockName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the lock is still there: %v", err)
	}
	deploys, err := History(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	d := deploys[len(deploys)-1]
	if d.Number != 3 || d.RollbackTo != 1 || d.Schema != "goose 2" || d.Commit != "c1" || d.By != "ann@here" || d.Status != DeployCurrent ||
		d.Services[0].Cause != "rollback to 1" {
		t.Errorf("the history ends with %+v", d)
	}

	if _, _, err := rollBack(t, c, ns, 0, o); err != nil { // forth again, which is to 2
		t.Fatal(err)
	}
	if got := webImage(t, c, ns); got != "web:2" {
		t.Errorf("forth again, web runs %s", got)
	}
	// The next up finds all as it should be.
	if p, _, err := deploy(t, c, second); err != nil || p.Changes() {
		t.Errorf("after the rollback forth an up has the plan (%v)\n%s", err, p)
	}
}

func jobsOf(t *testing.T, c *kube.Client, namespace string) []string {
	t.Helper()
	list, err := c.Interface.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, j := range list.Items {
		names[j.Name+" "+string(j.UID)] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// TestRollbackByHelm goes back and forth with Helm's own action, as `helm rollback` does it.
func TestRollbackByHelm(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "helm-rollback"
	controllers(t, c, ns)
	for i := range 2 {
		if _, _, err := deployWith(t, c, shop(t, ns, fmt.Sprintf("web:%d", i+1), "web:1"), ann("c")); err != nil {
			t.Fatal(err)
		}
	}
	h, err := newHelm(c, ns, 0)
	if err != nil {
		t.Fatal(err)
	}
	verdict := make(chan error, 1)
	verdict <- nil
	a := action.NewRollback(h.configuration(waiter{applied: func() {}, verdict: verdict}))
	a.Version, a.DisableHooks, a.WaitStrategy = 1, true, helmkube.StatusWatcherStrategy
	if err := a.Run("shop-web"); err != nil {
		t.Fatal(err)
	}
	deploys, err := History(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	last := deploys[len(deploys)-1]
	if len(deploys) != 3 || last.Number != 0 || last.Services[0].Revision != 3 || last.Services[0].Cause != "Rollback to 1" || last.Status != DeployCurrent {
		t.Errorf("the history is\n%s", shown(deploys))
	}
	if _, _, err := rollBack(t, c, ns, 2, ann("")); err != nil {
		t.Fatal(err)
	}
	if got := webImage(t, c, ns); got != "web:2" {
		t.Errorf("web runs %s", got)
	}
}

func TestRollbackRefused(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "rollback-refused"
	controllers(t, c, ns)
	for i := range 2 {
		name := fmt.Sprintf("web-env-%d", i+1)
		u := unit(t, "web", deployment("web", fmt.Sprintf("web:%d", i+1), 1, name))
		u.Config = []runtime.Object{settings(name, ns, "web", nil)}
		if _, _, err := deployWith(t, c, Wanted{Project: "shop", Namespace: ns, Units: []Unit{u}}, ann("")); err != nil {
			t.Fatal(err)
		}
	}
	rb, err := PlanRollback(t.Context(), c, "shop", ns, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("locked", func(t *testing.T) {
		hold(t, c, ns, Holder{Host: "elsewhere", PID: 7}, time.Now())
		err := ExecuteRollback(t.Context(), c, rb, progress.Discard, ann(""))
		if fault.KindOf(err) != fault.Locked {
			t.Errorf("error %v, want one of kind Locked", err)
		}
		if err := c.Interface.CoordinationV1().Leases(ns).Delete(t.Context(), lockName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("stale", func(t *testing.T) {
		stale := rb
		stale.From = 1
		err := ExecuteRollback(t.Context(), c, stale, progress.Discard, ann(""))
		if err == nil || err.Error() != "rollback to deploy 1: another deploy ran in between" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("config gone", func(t *testing.T) {
		if err := c.Interface.CoreV1().ConfigMaps(ns).Delete(t.Context(), "web-env-1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		err := ExecuteRollback(t.Context(), c, rb, progress.Discard, ann(""))
		if err == nil || err.Error() != "deploy 1: service web: configmap web-env-1, which it needs, is gone" {
			t.Errorf("error %v", err)
		}
	})
	if got := webImage(t, c, ns); got != "web:2" {
		t.Errorf("web runs %s after rollbacks that were refused", got)
	}
}

func TestRollbackFails(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "rollback-fails"
	controllers(t, c, ns)
	_, _, err := deployWith(t, c, shop(t, ns, "web:1", "web:1"), ann("c1"))
	if err == nil {
		_, _, err = deployWith(t, c, shop(t, ns, "web:2", "web:1"), ann("c2"))
	}
	if err != nil {
		t.Fatal(err)
	}
	// The image of the old revision is no longer there: the manifest that Helm keeps says so to our controllers.
	h, err := newHelm(c, ns, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := h.storage(t.Context())
	kept, err := s.Get("shop-web", 1)
	if err != nil {
		t.Fatal(err)
	}
	rel := kept.(*helmrelease.Release)
	rel.Manifest = strings.ReplaceAll(rel.Manifest, "image: web:1", "image: broken:1")
	if err := s.Update(rel); err != nil {
		t.Fatal(err)
	}
	_, _, err = rollBack(t, c, ns, 1, ann(""))
	if fault.KindOf(err) != fault.Rollout || !strings.Contains(err.Error(), "broken:1 cannot be pulled") {
		t.Fatalf("error %v, want one of kind Rollout", err)
	}
	deploys, err := History(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	if d := deploys[len(deploys)-1]; d.Number != 3 || d.Status != DeployFailed {
		t.Errorf("the history is\n%s", shown(deploys))
	}
	if _, _, err := rollBack(t, c, ns, 2, ann("")); err != nil {
		t.Fatal(err)
	}
	if got := webImage(t, c, ns); got != "web:2" {
		t.Errorf("web runs %s", got)
	}
}
