package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is a pod of the new revision of the Deployment that rolling makes, in a state.
func pod(state func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-new-1", UID: "pod", Labels: map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: "new"},
		},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:2"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "web", Image: "web:2"}}},
	}
	state(p)
	return p
}

// rolling is a Deployment of three in the middle of its rollout.
func rolling(pods ...*corev1.Pod) scene {
	n, yes := int32(3), true
	revision := map[string]string{"deployment.kubernetes.io/revision": "2"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "web", Generation: 2, Annotations: revision},
		Spec:       appsv1.DeploymentSpec{Replicas: &n},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 1, AvailableReplicas: 3, ReadyReplicas: 3,
		},
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: "web-new", Annotations: revision, Labels: map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: "new"},
		OwnerReferences: []metav1.OwnerReference{{UID: "web", Controller: &yes}},
	}}
	return scene{workload: d, sets: []*appsv1.ReplicaSet{rs}, pods: pods}
}

func waiting(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
}

// restarted is a container that ended before and is now in a state.
func restarted(times int32, end corev1.ContainerStateTerminated, now corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		cs := &p.Status.ContainerStatuses[0]
		cs.RestartCount, cs.LastTerminationState.Terminated, cs.State = times, &end, now
	}
}

func TestPodTroubles(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	backOff := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	type found struct {
		Cause Cause
		Grace time.Duration
		Text  string
	}
	cases := []struct {
		name   string
		state  func(*corev1.Pod)
		events []*corev1.Event
		want   []found
	}{
		{"creating", waiting("ContainerCreating", ""), nil, nil},
		{"pull error", waiting("ErrImagePull", "no such host"), nil, []found{{CauseImage, 0, "image web:2 cannot be pulled: no such host"}}},
		{"pull back-off", waiting("ImagePullBackOff", ""), nil, []found{{CauseImage, 0, "image web:2 cannot be pulled: ImagePullBackOff"}}},
		{"missing key", waiting("CreateContainerConfigError", "couldn't find key PORT"), nil,
			[]found{{CauseConfig, graceConfig, "container web: couldn't find key PORT"}}},
		{"first crash, running again", restarted(1, corev1.ContainerStateTerminated{ExitCode: 1}, running), nil, nil},
		{"crash loop", restarted(1, corev1.ContainerStateTerminated{ExitCode: 3}, backOff), nil,
			[]found{{CauseCrash, 0, "container web crashes: it exited with code 3 (restarts: 1)"}}},
		{"ends well again and again", restarted(2, corev1.ContainerStateTerminated{}, backOff), nil,
			[]found{{CauseEnded, 0, "container web ends again and again: it exited with code 0 (restarts: 2)"}}},
		{"out of memory", restarted(1, corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}, running), nil,
			[]found{{CauseMemory, 0, "container web was killed for using more memory than its limit"}}},
		{"out of memory long ago", func(p *corev1.Pod) {
			restarted(1, corev1.ContainerStateTerminated{Reason: "OOMKilled"}, running)(p)
			p.Status.ContainerStatuses[0].Ready = true
		}, nil, nil},
		{"no such program", restarted(0, corev1.ContainerStateTerminated{Reason: "StartError", Message: "OCI runtime create failed: unable to start container process: error during container init: no such file"}, backOff), nil,
			[]found{{CauseConfig, 0, "container web could not be started: no such file"}}},
		{"unschedulable", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = nil
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes: 1 Insufficient cpu. preemption: 0/1 nodes are available.",
			}}
		}, nil, []found{{CauseUnschedulable, graceSchedule, "no node takes it: 0/1 nodes: 1 Insufficient cpu"}}},
		{"no such claim", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = nil
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
				Message: `0/1 nodes are available: persistentvolumeclaim "data" not found. not found`,
			}}
		}, nil, []found{{CauseMount, graceSchedule, `persistentvolumeclaim "data" not found`}}},
		{"failed mount", waiting("ContainerCreating", ""), []*corev1.Event{event("pod", "FailedMount", "secret \"x\" not found")},
			[]found{{CauseMount, graceMount, "secret \"x\" not found"}}},
		{"no right to mount yet", waiting("ContainerCreating", ""), []*corev1.Event{event("pod", "FailedMount", "no relationship found between node 'n' and this object")},
			[]found{{CauseMount, graceRight, "no relationship found between node 'n' and this object"}}},
		{"volume still elsewhere", waiting("ContainerCreating", ""), []*corev1.Event{event("pod", "FailedAttachVolume", "Multi-Attach error")}, nil},
		{"no sandbox", waiting("ContainerCreating", ""), []*corev1.Event{event("pod", "FailedCreatePodSandBox", "no CNI")},
			[]found{{CauseSandbox, graceSandbox, "no CNI"}}},
		{"another pod's event", waiting("ContainerCreating", ""), []*corev1.Event{event("other", "FailedMount", "x")}, nil},
		{"probe fails", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = running },
			[]*corev1.Event{event("pod", "Unhealthy", "Readiness probe failed: 503")}, nil},
		{"init container done", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{
				Name: "init", RestartCount: 2, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
			}}
		}, nil, nil},
		{"being deleted", func(p *corev1.Pod) {
			waiting("ErrImagePull", "x")(p)
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}, nil, nil},
		{"old revision", func(p *corev1.Pod) {
			waiting("ErrImagePull", "x")(p)
			p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "old"
		}, nil, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := rolling(pod(c.state))
			s.events = c.events
			var got []found
			for _, x := range judge(s).troubles {
				got = append(got, found{x.cause, x.grace, x.text})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("troubles (-want +got):\n%s", diff)
			}
		})
	}
}

func event(about types.UID, reason, message string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{UID: types.UID(reason), ResourceVersion: "1"},
		InvolvedObject: corev1.ObjectReference{UID: about}, Reason: reason, Message: message,
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	type result struct {
		Ready, Total int32
		Done         bool
	}
	deployment := func(change func(*appsv1.DeploymentStatus)) scene {
		s := rolling()
		change(&s.workload.(*appsv1.Deployment).Status)
		return s
	}
	n := int32(3)
	set := func(st appsv1.StatefulSetStatus) scene {
		return scene{workload: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: appsv1.StatefulSetSpec{Replicas: &n}, Status: st,
		}}
	}
	daemons := func(st appsv1.DaemonSetStatus) scene {
		return scene{workload: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: st}}
	}
	job := func(st batchv1.JobStatus) scene { return scene{workload: &batchv1.Job{Status: st}} }
	cases := []struct {
		name  string
		scene scene
		want  result
	}{
		{"old pods only count for the old version", rolling(), result{0, 3, false}},
		{"not seen yet", deployment(func(s *appsv1.DeploymentStatus) { s.ObservedGeneration = 1 }), result{0, 3, false}},
		{"new ones ready, an old one still there", deployment(func(s *appsv1.DeploymentStatus) {
			s.Replicas, s.UpdatedReplicas, s.AvailableReplicas = 4, 3, 4
		}), result{3, 3, false}},
		{"rolled out", deployment(func(s *appsv1.DeploymentStatus) {
			s.Replicas, s.UpdatedReplicas, s.AvailableReplicas = 3, 3, 3
		}), result{3, 3, true}},
		{"one not available", deployment(func(s *appsv1.DeploymentStatus) {
			s.Replicas, s.UpdatedReplicas, s.AvailableReplicas = 3, 3, 2
		}), result{2, 3, false}},
		{"set rolled out", set(appsv1.StatefulSetStatus{
			ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3,
		}), result{3, 3, true}},
		{"set with an old pod", set(appsv1.StatefulSetStatus{
			ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 3,
		}), result{2, 3, false}},
		{"daemons", daemons(appsv1.DaemonSetStatus{
			ObservedGeneration: 2, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 2,
		}), result{2, 2, true}},
		{"daemons not seen yet", daemons(appsv1.DaemonSetStatus{ObservedGeneration: 1}), result{0, 0, false}},
		{"job complete", job(batchv1.JobStatus{Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobComplete, Status: corev1.ConditionTrue},
		}}), result{1, 1, true}},
		{"job running", job(batchv1.JobStatus{Active: 1}), result{0, 1, false}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := judge(c.scene)
			if diff := cmp.Diff(c.want, result{v.ready, v.total, v.done}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreadyTellsTheProbe(t *testing.T) {
	t.Parallel()
	s := rolling(pod(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{} }))
	s.events = []*corev1.Event{event("pod", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503\n")}
	want := "pod web-new-1: readiness probe failed: HTTP probe failed with statuscode: 503"
	if got := judge(s).note; got != want {
		t.Errorf("note %q, want %q", got, want)
	}
}

func TestRefusedPods(t *testing.T) {
	t.Parallel()
	s := rolling()
	d := s.workload.(*appsv1.Deployment)
	d.Status.Conditions = []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota",
	}}
	v := judge(s)
	if len(v.troubles) != 1 || v.troubles[0].cause != CauseRefused || !strings.Contains(v.troubles[0].text, "exceeded quota") {
		t.Errorf("troubles %+v, want the quota", v.troubles)
	}
}

func TestGraceRunsOut(t *testing.T) {
	t.Parallel()
	w := &wait{firsts: map[string]time.Time{}}
	now := time.Unix(1000, 0)
	slow := []trouble{{key: "a", grace: 5 * time.Second}}
	if ripe, next := w.ripe(slow, now); ripe != nil || next != 5*time.Second {
		t.Errorf("at first: %v after %s", ripe, next)
	}
	if ripe, next := w.ripe(slow, now.Add(4*time.Second)); ripe != nil || next != time.Second {
		t.Errorf("after 4 s: %v after %s", ripe, next)
	}
	if ripe, _ := w.ripe(slow, now.Add(5*time.Second)); ripe == nil {
		t.Error("after 5 s it does not end the wait")
	}
	w.ripe(nil, now.Add(6*time.Second))
	if ripe, _ := w.ripe(slow, now.Add(7*time.Second)); ripe != nil {
		t.Error("a trouble that went away and came back is old at once")
	}
	if ripe, _ := w.ripe([]trouble{{key: "b"}}, now); ripe == nil {
		t.Error("a trouble without grace does not end the wait")
	}
}

func TestJobHasBegun(t *testing.T) {
	t.Parallel()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "1"}}
	tests := map[string]struct {
		state corev1.ContainerState
		want  bool
	}{
		"waits":            {corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}, false},
		"runs":             {corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, true},
		"ended well":       {corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}, true},
		"ended with error": {corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}, false},
	}
	ended := map[string]bool{"ended well": true}
	for name, tt := range tests {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
		}}}
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "j", State: tt.state}}
		v := judge(scene{workload: job, pods: []*corev1.Pod{pod}})
		if v.started != tt.want || v.ended != ended[name] || v.done {
			t.Errorf("%s: started %t, ended %t, done %t", name, v.started, v.ended, v.done)
		}
	}
}
