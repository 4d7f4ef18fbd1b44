package kube

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// onceJob waits until the Job of a run is there, and the config that it owns.
func onceJob(t *testing.T, c *Client, name string) *batchv1.Job {
	t.Helper()
	live := liveJob(t, c, name, nil)
	if *live.Spec.TTLSecondsAfterFinished != leftoverAfter {
		t.Errorf("the Job stays when we are killed: %v", live.Spec)
	}
	err := waitUntil(limited(t), sourceOf(c.Interface.CoreV1().ConfigMaps(c.Namespace),
		func(l *corev1.ConfigMapList) []corev1.ConfigMap { return l.Items }, func(o *corev1.ConfigMap) metav1.Object { return o }),
		func(all []*corev1.ConfigMap) bool {
			for _, m := range all {
				if m.Name == name+"-0" && metav1.IsControlledBy(m, live) {
					return true
				}
			}
			return false
		})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// once begins a run without a shell, whose config is one ConfigMap.
func once(ctx context.Context, c *Client, name string, out *bytes.Buffer, r progress.Reporter) <-chan error {
	done := make(chan error, 1)
	config := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name + "-0", Namespace: c.Namespace},
	}
	go func() {
		code, err := c.RunOnce(ctx, OneOff{Job: migration(name), Config: []runtime.Object{config}, Stdout: out}, r, "run web")
		if err == nil && code != 0 {
			err = errCode(code)
		}
		done <- err
	}()
	return done
}

// errCode is an exit code.
type errCode int

func (e errCode) Error() string { return string(rune('0' + int(e))) }

func gone(t *testing.T, c *Client, name string) {
	t.Helper()
	j, err := c.Interface.BatchV1().Jobs(c.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err == nil && j.DeletionTimestamp == nil || err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("the Job is left: %v", err)
	}
}

// TestRunOnce runs something of which the log and the exit code come back, and then nothing is left of it.
func TestRunOnce(t *testing.T) {
	t.Parallel()
	c := connect(t, "run-once")
	n := startNode(t, c, "run-once")
	var out bytes.Buffer
	events := newCollector()
	done := once(limited(t), c, "web-run", &out, events)
	p := runJobPod(t, c, n, onceJob(t, c, "web-run"), "web-run-1")
	events.await(t, "done running")
	n.print(p, "hello", "world")
	n.end(p)
	setContainer(t, c, p, terminated(7))
	if err := <-done; !errors.Is(err, errCode(7)) || out.String() != "hello\nworld\n" {
		t.Errorf("error %v, output %q", err, out.String())
	}
	if diff := cmp.Diff([]string{"working starting", "done running"}, events.lines()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	gone(t, c, "web-run")
}

// TestRunOnceEndsWithItsContext is Ctrl-C, before anything runs.
func TestRunOnceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := connect(t, "run-once-cancel")
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := once(ctx, c, "web-run", new(bytes.Buffer), progress.Discard)
	onceJob(t, c, "web-run")
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("error %v, want the cause of the cancellation", err)
	}
	gone(t, c, "web-run")
}

// TestRunOnceThatCannotStart tells why, and leaves nothing that could start later.
func TestRunOnceThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status corev1.ContainerStatus
		want   string
	}{
		"pull": {corev1.ContainerStatus{State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"},
		}}, "run web-run: pod web-run-1: image web:1 cannot be pulled: no such host"},
		"start": {corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "StartError", ExitCode: 128, Message: `exec: "nosuch": executable file not found in $PATH`,
		}}}, `run web-run: could not be started: exec: "nosuch": executable file not found in $PATH`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := connect(t, "run-once-"+name)
			done := once(limited(t), client, "web-run", new(bytes.Buffer), progress.Discard)
			owner := metav1.NewControllerRef(onceJob(t, client, "web-run"), batchv1.SchemeGroupVersion.WithKind("Job"))
			newPod(t, client, "web-run-1", "", owner, map[string]string{batchv1.JobNameLabel: "web-run"}, c.status)
			if err := <-done; err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %q", err, c.want)
			}
			gone(t, client, "web-run")
		})
	}
}

// TestDiagnose judges one workload in three states.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	c := connect(t, "diagnose")
	n := startNode(t, c, "diagnose")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	look := func() Diagnosis {
		t.Helper()
		workloads, err := c.Workloads(t.Context(), "", "")
		if err != nil || len(workloads) != 1 {
			t.Fatalf("workloads %v, %v", workloads, err)
		}
		found, err := c.Diagnose(t.Context(), workloads)
		if err != nil {
			t.Fatal(err)
		}
		return found[0]
	}
	want := Diagnosis{Service: "web", Workload: "deployment web", Total: 2, Cause: CauseTime, Text: "the deployment controller has not seen it yet", Next: "perch logs web"}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("before it begins: -want +got:\n%s", diff)
	}

	rs := revision(t, c)
	crashed := terminated(3)
	crashed.State, crashed.LastTerminationState, crashed.RestartCount = corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"},
	}, crashed.State, 4
	owner := metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	p := newPod(t, c, "web-abc-1", n.name, owner, rs.Labels, crashed)
	n.print(p, "no config")
	n.end(p)
	setStatus(t, c, func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 2, 2 })
	want.Cause, want.Pod, want.Text = CauseCrash, "web-abc-1", "container web crashes: it exited with code 3 (restarts: 4)"
	want.Log = []string{"no config"}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("in a crash loop: -want +got:\n%s", diff)
	}

	again := running(5)
	again.LastTerminationState = crashed.LastTerminationState
	setContainer(t, c, p, again)
	setStatus(t, c, func(d *appsv1.Deployment) {
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = 2, 2, 2, 2
	})
	want.Ready, want.Text = 2, "container web exited with code 3 and was started again (restarts: 5)"
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("started again: -want +got:\n%s", diff)
	}

	again.State.Running.StartedAt = metav1.NewTime(time.Now().Add(-2 * settled))
	setContainer(t, c, p, again)
	want = Diagnosis{Service: "web", Workload: "deployment web", Well: true, Ready: 2, Total: 2}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("well: -want +got:\n%s", diff)
	}
}

// TestWaitEnded waits for the end of a Job that somebody else runs.
func TestWaitEnded(t *testing.T) {
	t.Parallel()
	c := connect(t, "wait-ended")
	n := startNode(t, c, "wait-ended")
	type result struct {
		code int
		err  error
	}
	for _, one := range []struct {
		name string
		end  int32
		want int
	}{{"well", 0, 0}, {"badly", 5, 5}} {
		if _, err := c.Interface.BatchV1().Jobs(c.Namespace).Create(t.Context(), migration(one.name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		live := liveJob(t, c, one.name, nil)
		done := make(chan result, 1)
		go func() {
			code, err := c.WaitEnded(limited(t), live)
			done <- result{code, err}
		}()
		setContainer(t, c, runJobPod(t, c, n, live, one.name+"-1"), terminated(one.end))
		endJob(t, c, live, one.end != 0)
		if got := <-done; got.code != one.want || got.err != nil {
			t.Errorf("%s: code %d, error %v, want %d", one.name, got.code, got.err, one.want)
		}
	}
}

// TestScaleAndWait scales a Deployment and refuses what cannot be scaled before it changes anything.
func TestScaleAndWait(t *testing.T) {
	t.Parallel()
	c := connect(t, "scale")
	if err := c.Apply(t.Context(), []runtime.Object{web()}); err != nil {
		t.Fatal(err)
	}
	workloads := []Workload{{Service: "web", Object: web()}, {Service: "job", Object: migration("job")}}
	workloads[0].Object.(metav1.Object).SetNamespace(c.Namespace) //nolint:forcetypeassert // a Deployment
	err := c.ScaleAndWait(limited(t), workloads, map[string]int{"web": 3, "job": 2}, progress.Discard)
	if fault.KindOf(err) != fault.Usage {
		t.Errorf("error %v, want one of usage", err)
	}
	events, done := newCollector(), make(chan error, 1)
	go func() { done <- c.ScaleAndWait(limited(t), workloads[:1], map[string]int{"web": 3}, events) }()
	events.await(t, "working 0/3 ready")
	setStatus(t, c, func(d *appsv1.Deployment) {
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = 3, 3, 3, 3
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
	events.await(t, "done scaled to 3")
}
