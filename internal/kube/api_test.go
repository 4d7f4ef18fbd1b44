package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/progress"
)

// server is the one API server of the package's tests, started by the first test that needs it, so that the pure tests
// can be run without.
var server = sync.OnceValues(func() (*apitest.Server, error) {
	dir, err := os.MkdirTemp("", "perch-kube-")
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
			if err := errors.Join(s.Stop(), os.RemoveAll(filepath.Dir(s.Kubeconfig))); err != nil {
				fmt.Fprintln(os.Stderr, "apitest:", err)
			}
		}
	}
	os.Exit(code)
}

// connect gives a client whose namespace is there, and has the account that pods need.
func connect(t *testing.T, namespace string) *Client {
	t.Helper()
	used.Store(true)
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Kubeconfig: s.Kubeconfig, Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	changed, err := c.EnsureNamespace(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if err != nil || changed != "created" {
		t.Fatalf("namespace %s: %q, %v", namespace, changed, err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := c.Interface.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// limited is a context for one wait, so that a test that would wait for ever says so.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// collector keeps events and tells when one comes.
type collector struct {
	mu     sync.Mutex
	events []progress.Event
	signal chan struct{}
}

func newCollector() *collector { return &collector{signal: make(chan struct{}, 1)} }

func (c *collector) Report(e progress.Event) {
	c.mu.Lock()
	c.events = append(c.events, e)
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// lines is "STATUS TEXT" of all events.
func (c *collector) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, e := range c.events {
		all = append(all, string(e.Status)+" "+e.Text)
	}
	return all
}

// await waits for an event.
func (c *collector) await(t *testing.T, line string) {
	t.Helper()
	ctx := limited(t)
	for {
		for _, l := range c.lines() {
			if l == line {
				return
			}
		}
		select {
		case <-c.signal:
		case <-ctx.Done():
			t.Fatalf("no event %q among %q", line, c.lines())
		}
	}
}

// web is a Deployment of two.
func web() *appsv1.Deployment {
	n := int32(2)
	labels := map[string]string{"app.kubernetes.io/name": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{ServiceAnnotation: "web"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{ServiceAnnotation: "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}
}

// setStatus writes the status of the Deployment as its controller would.
func setStatus(t *testing.T, c *Client, change func(*appsv1.Deployment)) {
	t.Helper()
	deployments := c.Interface.AppsV1().Deployments(c.Namespace)
	d, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Status.ObservedGeneration = d.Generation
	change(d)
	if _, err := deployments.UpdateStatus(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// revision makes the Deployment's new ReplicaSet.
func revision(t *testing.T, c *Client) *appsv1.ReplicaSet {
	t.Helper()
	deployments := c.Interface.AppsV1().Deployments(c.Namespace)
	d, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Annotations["deployment.kubernetes.io/revision"] = "1"
	if d, err = deployments.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app.kubernetes.io/name": "web", appsv1.DefaultDeploymentUniqueLabelKey: "abc"}
	template := d.Spec.Template.DeepCopy()
	template.Labels = labels
	rs, err := c.Interface.AppsV1().ReplicaSets(c.Namespace).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-abc", Labels: labels, Annotations: d.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: *template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// newPod makes a pod of an owner with one container in a state.
func newPod(t *testing.T, c *Client, name, node string, owner *metav1.OwnerReference, labels map[string]string, cs corev1.ContainerStatus) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{ServiceAnnotation: "web"}},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "web", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 4000}}}},
		},
	}
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	if owner != nil && owner.Kind == "Job" {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	p, err := c.Interface.CoreV1().Pods(c.Namespace).Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return setContainer(t, c, p, cs)
}

func setContainer(t *testing.T, c *Client, p *corev1.Pod, cs corev1.ContainerStatus) *corev1.Pod {
	t.Helper()
	pods := c.Interface.CoreV1().Pods(c.Namespace)
	p, err := pods.Get(t.Context(), p.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cs.Name, cs.Image = "web", "web:1"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{cs}
	if cs.State.Running != nil {
		p.Status.Phase = corev1.PodRunning
	}
	ready := corev1.ConditionFalse
	if cs.Ready {
		ready = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if p, err = pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func running(restarts int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		RestartCount: restarts, Ready: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}
}

func terminated(code int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: metav1.Now(), FinishedAt: metav1.Now()},
	}}
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	c := connect(t, "wait-ready")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	events, done := newCollector(), make(chan error, 1)
	go func() {
		done <- c.WaitReady(limited(t), []runtime.Object{web(), &corev1.Service{}}, events, "service web")
	}()
	events.await(t, "working 0/2 ready")
	setStatus(t, c, func(d *appsv1.Deployment) {
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = 2, 2, 1, 1
	})
	events.await(t, "working 1/2 ready")
	setStatus(t, c, func(d *appsv1.Deployment) { d.Status.ReadyReplicas, d.Status.AvailableReplicas = 2, 2 })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := []string{"working 0/2 ready", "working 1/2 ready", "working 2/2 ready"}
	if diff := cmp.Diff(want, events.lines()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestWaitReadyTellsTheCrash(t *testing.T) {
	t.Parallel()
	c := connect(t, "wait-crash")
	n := startNode(t, c, "wait-crash")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	rs := revision(t, c)
	owner := metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	cs := corev1.ContainerStatus{RestartCount: 2}
	cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	cs.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3}
	p := newPod(t, c, "web-abc-1", n.name, owner, rs.Labels, cs)
	for i := range 25 {
		n.print(p, fmt.Sprintf("line %d", i))
	}
	setStatus(t, c, func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 1, 1 })

	err := c.WaitReady(limited(t), []runtime.Object{web()}, progress.Discard, "service web")
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Rollout {
		t.Fatalf("error %v, want a fault of kind Rollout", err)
	}
	want := "service web: pod web-abc-1: container web crashes: it exited with code 3 (restarts: 2)"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if f.Hint != "perch logs web" {
		t.Errorf("hint %q", f.Hint)
	}
	if len(f.Output) != 25 || f.Output[0] != "line 0" || f.Output[24] != "line 24" {
		t.Errorf("output %q, want all 25 lines", f.Output)
	}
}

func TestWaitReadyTimesOutWithTheLastThingSeen(t *testing.T) {
	t.Parallel()
	c := connect(t, "wait-timeout")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	rs := revision(t, c)
	owner := metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	cs := running(0)
	cs.Ready = false
	p := newPod(t, c, "web-abc-1", "", owner, rs.Labels, cs)
	_, err := c.Interface.CoreV1().Events(c.Namespace).Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Type: corev1.EventTypeWarning, Reason: "Unhealthy",
		Message: "Readiness probe failed: connection refused", LastTimestamp: metav1.Now(),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: p.Name, Namespace: c.Namespace, UID: p.UID},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	setStatus(t, c, func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 1, 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err = c.WaitReady(ctx, []runtime.Object{web()}, progress.Discard, "service web")
	want := "service web: not ready in time: 0/2 ready; pod web-abc-1: readiness probe failed: connection refused"
	if err == nil || err.Error() != want || fault.KindOf(err) != fault.Rollout {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestWaitReadyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := connect(t, "wait-cancel")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	events := newCollector()
	done := make(chan error, 1)
	go func() { done <- c.WaitReady(ctx, []runtime.Object{web()}, events, "service web") }()
	events.await(t, "working 0/2 ready")
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("error %v, want the cause of the cancellation", err)
	}
}

// migration is a Job that is not tried again.
func migration(name string) *batchv1.Job {
	none := int32(0)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{BackoffLimit: &none, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "web", Image: "web:1"}},
		}}},
	}
}

// liveJob waits for the Job to be there.
func liveJob(t *testing.T, c *Client, name string, not *batchv1.Job) *batchv1.Job {
	t.Helper()
	var live *batchv1.Job
	err := waitUntil(limited(t), jobSource(c.Interface.BatchV1().Jobs(c.Namespace), name), func(jobs []*batchv1.Job) bool {
		if len(jobs) == 1 && (not == nil || jobs[0].UID != not.UID) {
			live = jobs[0]
		}
		return live != nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// endJob writes the end of a Job as its controller would.
func endJob(t *testing.T, c *Client, j *batchv1.Job, failed bool) {
	t.Helper()
	j = j.DeepCopy()
	now := metav1.Now()
	kinds := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	j.Status.StartTime = &now
	if failed {
		kinds = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
		j.Status.Failed = 1
	} else {
		j.Status.CompletionTime, j.Status.Succeeded = &now, 1
	}
	for _, k := range kinds {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: k, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded,
		})
	}
	if _, err := c.Interface.BatchV1().Jobs(c.Namespace).UpdateStatus(t.Context(), j, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// runJobPod gives the Job a running pod.
func runJobPod(t *testing.T, c *Client, n *node, j *batchv1.Job, name string) *corev1.Pod {
	t.Helper()
	owner := metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))
	return newPod(t, c, name, n.name, owner, map[string]string{batchv1.JobNameLabel: j.Name}, running(0))
}

func TestRunJob(t *testing.T) {
	t.Parallel()
	c := connect(t, "run-job")
	n := startNode(t, c, "run-job")
	type result struct {
		exit int
		err  error
	}
	start := func() (*collector, <-chan result) {
		events, done := newCollector(), make(chan result, 1)
		go func() {
			exit, err := c.RunJob(limited(t), migration("migrate"), events, "migrate web")
			done <- result{exit, err}
		}()
		return events, done
	}

	// The first run fails.
	events, done := start()
	first := liveJob(t, c, "migrate", nil)
	p := runJobPod(t, c, n, first, "migrate-1")
	n.print(p, "applying 1", "ERROR: relation does not exist")
	events.await(t, "output ERROR: relation does not exist")
	n.end(p)
	setContainer(t, c, p, terminated(3))
	endJob(t, c, first, true)
	got := <-done
	f, ok := errors.AsType[*fault.Error](got.err)
	if got.exit != 3 || !ok {
		t.Fatalf("exit %d, error %v, want 3 and a fault", got.exit, got.err)
	}
	if want := "job migrate: pod migrate-1: exited with code 3"; f.Error() != want {
		t.Errorf("error %q, want %q", f, want)
	}
	if diff := cmp.Diff([]string{"applying 1", "ERROR: relation does not exist"}, f.Output); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	want := []string{
		"working waiting for a pod", "working running", "output applying 1", "output ERROR: relation does not exist",
		"failed exited with code 3",
	}
	if diff := cmp.Diff(want, events.lines()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	// The second run replaces it; it is interrupted and leaves the Job running.
	ctx, interrupt := context.WithCancel(t.Context())
	interrupted := make(chan error, 1)
	go func() {
		_, err := c.RunJob(ctx, migration("migrate"), progress.Discard, "migrate web")
		interrupted <- err
	}()
	second := liveJob(t, c, "migrate", first)
	interrupt()
	if err := <-interrupted; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}

	// The third one takes it up.
	events, done = start()
	p = runJobPod(t, c, n, second, "migrate-2")
	n.print(p, "applied 1")
	events.await(t, "output applied 1")
	n.end(p)
	setContainer(t, c, p, terminated(0))
	endJob(t, c, second, false)
	if got := <-done; got.exit != 0 || got.err != nil {
		t.Fatalf("exit %d, error %v", got.exit, got.err)
	}

	// The fourth finds nothing to do.
	events, done = start()
	if got := <-done; got.exit != 0 || got.err != nil {
		t.Fatalf("exit %d, error %v", got.exit, got.err)
	}
	if diff := cmp.Diff([]string{"same already complete"}, events.lines()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// The pod of a Job has ended well some time before the Job says that it is complete.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := connect(t, "jobs")
	n := startNode(t, c, "jobs")
	j, err := c.Interface.BatchV1().Jobs(c.Namespace).Create(t.Context(), migration("migrate"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state := func() JobState {
		t.Helper()
		jobs, err := c.Jobs(t.Context(), c.Namespace)
		if err != nil || jobs["migrate"] == nil {
			t.Fatalf("jobs %v, error %v", jobs, err)
		}
		return StateOf(jobs["migrate"])
	}
	p := runJobPod(t, c, n, j, "migrate-1")
	if got := state(); got != JobRunning {
		t.Errorf("with a pod that runs: %s", got)
	}
	p = setContainer(t, c, p, terminated(3))
	if got := state(); got != JobRunning {
		t.Errorf("with a pod that failed: %s", got)
	}
	setContainer(t, c, p, terminated(0))
	if got := state(); got != JobComplete {
		t.Errorf("with a pod that has ended well: %s", got)
	}
}

func TestRunJobThatCannotStart(t *testing.T) {
	t.Parallel()
	c := connect(t, "run-job-pull")
	done := make(chan error, 1)
	go func() {
		_, err := c.RunJob(limited(t), migration("migrate"), progress.Discard, "migrate web")
		done <- err
	}()
	live := liveJob(t, c, "migrate", nil)
	cs := corev1.ContainerStatus{}
	cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"}
	owner := metav1.NewControllerRef(live, batchv1.SchemeGroupVersion.WithKind("Job"))
	newPod(t, c, "migrate-1", "", owner, map[string]string{batchv1.JobNameLabel: "migrate"}, cs)
	err := <-done
	if want := "job migrate: pod migrate-1: image web:1 cannot be pulled: no such host"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if j, err := c.Interface.BatchV1().Jobs(c.Namespace).Get(t.Context(), "migrate", metav1.GetOptions{}); err == nil && j.DeletionTimestamp == nil {
		t.Error("the Job is left to run later, unwatched")
	}
}

// printed keeps log lines as "POD TEXT" and tells when one comes.
type printed struct{ *collector }

func (p printed) line(pod, _, text string) {
	p.Report(progress.Event{Status: progress.Status(pod), Text: text})
}

func TestLogs(t *testing.T) {
	t.Parallel()
	c := connect(t, "logs")
	n := startNode(t, c, "logs")
	labels := map[string]string{"app.kubernetes.io/name": "web"}
	a, b := newPod(t, c, "a", n.name, nil, labels, running(0)), newPod(t, c, "b", n.name, nil, labels, running(0))
	newPod(t, c, "other", n.name, nil, map[string]string{"app.kubernetes.io/name": "db"}, running(0))
	n.print(a, "1")
	n.print(b, "2")
	n.print(a, "3")
	n.print(b, "4")
	cases := []struct {
		name    string
		options LogOptions
		want    []string
	}{
		{"all, in the order of their time", LogOptions{Services: []string{"web"}, Tail: -1}, []string{"a 1", "b 2", "a 3", "b 4"}},
		{"the last one of each", LogOptions{Services: []string{"web"}, Tail: 1}, []string{"a 3", "b 4"}},
		{"of another container", LogOptions{Services: []string{"web"}, Tail: -1, Containers: []string{"x"}}, nil},
		{"of another service", LogOptions{Services: []string{"cache"}, Tail: -1}, nil},
	}
	for _, k := range cases {
		got := printed{newCollector()}
		if err := c.Logs(t.Context(), k.options, got.line); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		if diff := cmp.Diff(k.want, got.lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", k.name, diff)
		}
	}
}

func TestFollowLogs(t *testing.T) {
	t.Parallel()
	c := connect(t, "follow")
	n := startNode(t, c, "follow")
	labels := map[string]string{"app.kubernetes.io/name": "web"}
	a := newPod(t, c, "a", n.name, nil, labels, running(0))
	n.breaks = 1 // the first stream breaks: the API server was restarted
	n.print(a, "old", "1")

	ctx, cancel := context.WithCancel(t.Context())
	got, done := printed{newCollector()}, make(chan error, 1)
	go func() { done <- c.Logs(ctx, LogOptions{Services: []string{"web"}, Follow: true, Tail: 1}, got.line) }()
	got.await(t, "a 1")
	n.print(a, "2")
	got.await(t, "a 2")
	// The container is restarted.
	n.restart(a)
	n.print(a, "3")
	setContainer(t, c, a, running(1))
	got.await(t, "a 3")
	// Another pod takes its place; all it has printed is new.
	b := newPod(t, c, "b", n.name, nil, labels, running(0))
	n.print(b, "4", "5")
	got.await(t, "b 5")
	if err := c.Interface.CoreV1().Pods(c.Namespace).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.print(b, "6")
	got.await(t, "b 6")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end of the context is the error %v", err)
	}
	if diff := cmp.Diff([]string{"a 1", "a 2", "a 3", "b 4", "b 5", "b 6"}, got.lines()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	c := connect(t, "exec")
	n := startNode(t, c, "exec")
	newPod(t, c, "web", n.name, nil, nil, running(0))
	var out, errs bytes.Buffer
	code, err := c.Exec(limited(t), ExecOptions{
		Pod: "web", Command: []string{"sh", "-c", "cat; echo oops >&2; exit 7"},
		Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs,
	})
	if code != 7 || err != nil || out.String() != "hello" || errs.String() != "oops\n" {
		t.Errorf("code %d, error %v, out %q, err %q", code, err, out.String(), errs.String())
	}
	out.Reset()
	sizes := make(chan TerminalSize, 1)
	sizes <- TerminalSize{Width: 80, Height: 24}
	code, err = c.Exec(limited(t), ExecOptions{Pod: "web", Command: []string{"echo", "hi"}, Stdout: &out, TTY: true, Resize: sizes})
	if code != 0 || err != nil || out.String() != "80x24\nhi\n" {
		t.Errorf("with a terminal: code %d, error %v, out %q", code, err, out.String())
	}
	code, err = c.Exec(limited(t), ExecOptions{Pod: "web", Command: []string{"no-such"}, Stdout: &out})
	if want := `pod web: there is no program "no-such" in the container`; code != 127 || err == nil || err.Error() != want {
		t.Errorf("a program that is not there: code %d, error %v, want %q", code, err, want)
	}
	code, err = c.Exec(limited(t), ExecOptions{Pod: "nobody", Command: []string{"true"}, Stdout: &out})
	if want := "pod nobody: not found in namespace exec"; code != -1 || err == nil || err.Error() != want {
		t.Errorf("in a pod that is not there: code %d, error %v, want %q", code, err, want)
	}
}

func TestPods(t *testing.T) {
	t.Parallel()
	c := connect(t, "pods")
	cs := corev1.ContainerStatus{RestartCount: 4}
	cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s"}
	newPod(t, c, "web-2", "", nil, map[string]string{"app.kubernetes.io/name": "web"}, cs)
	newPod(t, c, "web-1", "n", nil, map[string]string{"app.kubernetes.io/name": "web"}, running(1))
	got, err := c.Pods(t.Context(), "", "app.kubernetes.io/name=web")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Created.IsZero() {
			t.Errorf("pod %s has no age", got[i].Name)
		}
		got[i].Created = time.Time{}
	}
	want := []Pod{
		{Service: "web", Name: "web-1", Image: "web:1", State: "Running", Ready: 1, Total: 1, Restarts: 1, Node: "n", Ports: []string{"4000/tcp"}},
		{Service: "web", Name: "web-2", Image: "web:1", State: "CrashLoopBackOff", Reason: "back-off 10s", Total: 1, Restarts: 4, Ports: []string{"4000/tcp"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p, err := c.RunningPod(t.Context(), "", "app.kubernetes.io/name=web", "web", 0)
	if err != nil || p.Name != "web-1" {
		t.Errorf("running pod %v, %v", p, err)
	}
}

func TestApplyTwiceAndLeftovers(t *testing.T) {
	t.Parallel()
	c := connect(t, "apply")
	objects := []runtime.Object{web(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}}
	for range 2 {
		if err := c.Apply(t.Context(), objects); err != nil {
			t.Fatal(err)
		}
	}
	d, err := c.Interface.AppsV1().Deployments("apply").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || d.Generation != 1 {
		t.Errorf("generation %d after two applies, %v", d.Generation, err)
	}
	left, err := c.Leftovers(t.Context(), "apply")
	if diff := cmp.Diff([]string{"configmap settings", "deployment web"}, left); diff != "" || err != nil {
		t.Errorf("left %v (-want +got):\n%s", err, diff)
	}
	if err := c.Delete(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), objects); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
	if left, err := c.Leftovers(t.Context(), "apply"); len(left) > 0 || err != nil {
		t.Errorf("left %q, %v", left, err)
	}
}
