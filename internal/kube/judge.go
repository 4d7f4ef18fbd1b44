package kube

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// How long each trouble must last before it ends the wait. Most are final at first sight; these are not, since they
// also pass by on the way to a healthy start.
const (
	graceSchedule = 4 * time.Second  // a volume is being bound, a node is just coming up
	graceMount    = 4 * time.Second  // the kubelet has not seen a Secret made a moment ago
	graceRight    = 45 * time.Second // the kubelet's next attempts, which come ever later
	graceSandbox  = 20 * time.Second // the node's network is just coming up, and the kubelet tries again after 10 to 15 s
	graceCreate   = 2 * time.Second  // the default service account of a new namespace is being made
	graceConfig   = 2 * time.Second  // the kubelet has not seen a ConfigMap made a moment ago
)

// crashLimit is the number of restarts from which on a container counts as crashing: one may be a dependency's fault.
const crashLimit = 2

// scene is all that is known of one workload at one moment.
type scene struct {
	workload runtime.Object // *Deployment, *StatefulSet, *DaemonSet, *Job; nil when it does not exist
	sets     []*appsv1.ReplicaSet
	pods     []*corev1.Pod
	events   []*corev1.Event // warnings in the namespace
}

// verdict is what judge makes of a scene.
type verdict struct {
	ready, total int32
	done         bool
	started      bool // of a Job: a pod of it runs, or has ended well
	ended        bool // of a Job of one pod: it has ended well; the Job says so up to a second later
	troubles     []trouble
	note         string // the last thing worth telling when the wait ends without a trouble
}

// trouble is a state that ends the wait when it lasts for its grace.
type trouble struct {
	key       string // names the state, so that its age can be told
	grace     time.Duration
	cause     Cause
	pod       string // the pod it is about; "" when it is about the workload
	container string
	previous  bool   // the log that tells more is the one of the container's previous instance
	text      string // what is wrong, for people, without the pod's name
	event     string // the last warning about the pod, as "REASON: message"; "" when there is none that adds to the text
}

// place is the trouble's text with the pod that it is about.
func (t trouble) place() string { return strings.TrimPrefix("pod "+t.pod+": "+t.text, "pod : ") }

// Cause is the sort of reason for which a workload does not become ready.
type Cause string

// The causes that end a wait before its time.
const (
	CauseImage         Cause = "image"         // the image cannot be pulled
	CauseConfig        Cause = "config"        // a ConfigMap, Secret or key is missing, or the container cannot be made
	CauseCrash         Cause = "crash"         // the container ends with an error again and again
	CauseEnded         Cause = "ended"         // the container ends well, again and again, where it should run on
	CauseMemory        Cause = "memory"        // killed for using more memory than its limit
	CauseUnschedulable Cause = "unschedulable" // no node takes the pod
	CauseMount         Cause = "mount"         // a volume cannot be mounted
	CauseSandbox       Cause = "sandbox"       // the node cannot make the pod's sandbox
	CauseRefused       Cause = "refused"       // quota or admission refuses the pods
	CauseJob           Cause = "job"           // the Job came to an end without success
	CauseGone          Cause = "gone"          // somebody deleted the workload
	CauseTime          Cause = "time"          // not ready in time
	CauseSilent        Cause = "silent"        // the API server does not answer any more
)

// judge decides about a scene. It is pure; ages and timeouts are its caller's matter.
func judge(s scene) verdict {
	switch w := s.workload.(type) {
	case *appsv1.Deployment:
		return judgeDeployment(w, s)
	case *appsv1.StatefulSet:
		return judgeStatefulSet(w, s)
	case *appsv1.DaemonSet:
		return judgeDaemonSet(w, s)
	case *batchv1.Job:
		return judgeJob(w, s)
	}
	return verdict{troubles: []trouble{{key: "gone", grace: graceCreate, cause: CauseGone, text: "it was deleted"}}}
}

func judgeDeployment(d *appsv1.Deployment, s scene) verdict {
	v := verdict{total: replicas(d.Spec.Replicas), note: "the deployment controller has not seen it yet"}
	if d.Status.ObservedGeneration < d.Generation {
		return v
	}
	v.note = ""
	st := d.Status
	v.ready = min(st.AvailableReplicas, st.UpdatedReplicas)
	if st.UpdatedReplicas < st.Replicas {
		// Pods of the old version are among the available ones: only the new ones count.
		v.ready = max(0, st.AvailableReplicas-(st.Replicas-st.UpdatedReplicas))
	}
	v.done = st.UpdatedReplicas == v.total && st.Replicas == v.total && st.AvailableReplicas == v.total
	for _, c := range st.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			v.troubles = append(v.troubles, refused(c.Message))
		}
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
			v.troubles = append(v.troubles, trouble{key: "deadline", cause: CauseTime, text: c.Message})
		}
	}
	hash := newestHash(d, s.sets)
	v.addPods(s, func(p *corev1.Pod) bool {
		return hash != "" && p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash
	})
	return v
}

// newestHash is the pod-template-hash of the ReplicaSet of the Deployment's current revision, "" when it is not there.
func newestHash(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) string {
	const revision = "deployment.kubernetes.io/revision"
	for _, rs := range sets {
		if metav1.IsControlledBy(rs, d) && rs.Annotations[revision] == d.Annotations[revision] {
			return rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	return ""
}

func judgeStatefulSet(d *appsv1.StatefulSet, s scene) verdict {
	v := verdict{total: replicas(d.Spec.Replicas), note: "the statefulset controller has not seen it yet"}
	if d.Status.ObservedGeneration < d.Generation {
		return v
	}
	v.note = ""
	st := d.Status
	v.ready = min(st.AvailableReplicas, st.UpdatedReplicas)
	v.done = st.Replicas == v.total && st.UpdatedReplicas >= v.total && st.AvailableReplicas == v.total
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		v.ready = st.AvailableReplicas
		v.done = st.AvailableReplicas == v.total
	}
	v.addRefusals(s, d.UID)
	v.addPods(s, func(p *corev1.Pod) bool {
		return metav1.IsControlledBy(p, d) && p.Labels[appsv1.StatefulSetRevisionLabel] == st.UpdateRevision
	})
	return v
}

func judgeDaemonSet(d *appsv1.DaemonSet, s scene) verdict {
	st := d.Status
	v := verdict{total: st.DesiredNumberScheduled, note: "the daemonset controller has not seen it yet"}
	if st.ObservedGeneration < d.Generation {
		return v
	}
	v.note = ""
	v.ready = min(st.NumberAvailable, st.UpdatedNumberScheduled)
	v.done = st.UpdatedNumberScheduled >= v.total && st.NumberAvailable >= v.total
	v.addRefusals(s, d.UID)
	generation := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	v.addPods(s, func(p *corev1.Pod) bool {
		const label = "pod-template-generation"
		return metav1.IsControlledBy(p, d) && (generation == "" || p.Labels[label] == generation)
	})
	return v
}

func judgeJob(j *batchv1.Job, s scene) verdict {
	v := verdict{ready: j.Status.Succeeded, total: replicas(j.Spec.Completions)}
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			v.ready, v.done = v.total, true
			return v
		case batchv1.JobFailed:
			v.troubles = append(v.troubles, failedJob(j, s.pods, c))
			return v
		}
	}
	v.addRefusals(s, j.UID)
	v.addPods(s, func(p *corev1.Pod) bool { return metav1.IsControlledBy(p, j) })
	v.started = slices.ContainsFunc(s.pods, func(p *corev1.Pod) bool { return metav1.IsControlledBy(p, j) && hasBegun(p) })
	v.ended = onlyPodEnded(j, s.pods)
	// A container that ends with an error is the Job's own matter: it counts its retries and then fails.
	kept := v.troubles[:0]
	for _, t := range v.troubles {
		if t.cause != CauseCrash && t.cause != CauseEnded && t.cause != CauseMemory {
			kept = append(kept, t)
		}
	}
	v.troubles = kept
	return v
}

// hasBegun tells whether a container of a pod, other than those that run before, runs or has ended well.
func hasBegun(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(cs corev1.ContainerStatus) bool {
		end := cs.State.Terminated
		return cs.State.Running != nil || end != nil && end.ExitCode == 0
	})
}

// onlyPodEnded tells whether a Job of one pod has done its work, which it says itself up to seconds later.
func onlyPodEnded(j *batchv1.Job, pods []*corev1.Pod) bool {
	return replicas(j.Spec.Completions) == 1 &&
		slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return metav1.IsControlledBy(p, j) && hasEndedWell(p) })
}

// hasEndedWell tells whether all containers of a pod that is not restarted have ended without an error.
func hasEndedWell(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) > 0 && p.Spec.RestartPolicy == corev1.RestartPolicyNever &&
		!slices.ContainsFunc(p.Status.ContainerStatuses, func(cs corev1.ContainerStatus) bool {
			return cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0
		})
}

// failedJob says why a Job failed: by its last pod when there is one, else by the Job's condition.
func failedJob(j *batchv1.Job, pods []*corev1.Pod, c batchv1.JobCondition) trouble {
	t := trouble{key: "job", cause: CauseJob, text: lowerFirst(c.Message)}
	pod := lastPod(j, pods)
	if pod == nil {
		return t
	}
	t.pod = pod.Name
	for _, cs := range containers(pod) {
		if end := cs.State.Terminated; end != nil && (end.ExitCode != 0 || t.container == "") {
			t.container, t.text = cs.Name, ended(end)
		}
	}
	if c.Reason == batchv1.JobReasonDeadlineExceeded {
		t.text = "it ran longer than its activeDeadlineSeconds"
	}
	return t
}

// lastPod is the youngest pod of the Job.
func lastPod(j *batchv1.Job, pods []*corev1.Pod) *corev1.Pod {
	var last *corev1.Pod
	for _, p := range pods {
		if metav1.IsControlledBy(p, j) && (last == nil || last.CreationTimestamp.Before(&p.CreationTimestamp)) {
			last = p
		}
	}
	return last
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func refused(message string) trouble {
	return trouble{key: "refused", grace: graceCreate, cause: CauseRefused, text: "its pods are refused: " + message}
}

// addRefusals looks for the events of controllers that may not create their pods. Deployments say it in a condition,
// the others only by event.
func (v *verdict) addRefusals(s scene, workload types.UID) {
	for _, e := range s.events {
		if e.InvolvedObject.UID == workload && e.Reason == "FailedCreate" && v.ready < v.total {
			v.troubles = append(v.troubles, refused(e.Message))
		}
	}
}

// addPods judges the pods of the new revision, which current tells from others.
func (v *verdict) addPods(s scene, current func(*corev1.Pod) bool) {
	for _, p := range s.pods {
		if p.DeletionTimestamp != nil || !current(p) {
			continue
		}
		v.troubles = append(v.troubles, podTroubles(p, s.events)...)
		if note := unready(p, s.events); note != "" {
			v.note = note
		}
	}
}

// podTroubles is what keeps a pod from running, worst first.
func podTroubles(p *corev1.Pod, events []*corev1.Event) []trouble {
	var found []trouble
	add := func(t trouble) {
		t.key, t.pod = string(p.UID)+"/"+t.key, p.Name
		found = append(found, t)
	}
	started := false
	for _, cs := range containers(p) {
		started = started || cs.State.Running != nil || cs.State.Terminated != nil || cs.RestartCount > 0
		if t, bad := containerTrouble(p, cs); bad {
			add(t)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			add(unschedulable(c.Message))
		}
	}
	if started {
		return found
	}
	for _, e := range events {
		if e.InvolvedObject.UID != p.UID {
			continue
		}
		switch e.Reason {
		case "FailedMount", "FailedAttachVolume":
			// A volume that is still attached elsewhere comes free when the old pod's node lets go of it.
			// Nor has a kubelet a right to a claim that the node authorizer has not heard of yet: it asks again.
			switch {
			case strings.Contains(e.Message, "Multi-Attach"):
			case strings.Contains(e.Message, "no relationship found between node"):
				add(trouble{key: "right to mount", grace: graceRight, cause: CauseMount, text: e.Message})
			default:
				add(trouble{key: "mount", grace: graceMount, cause: CauseMount, text: e.Message})
			}
		case "FailedCreatePodSandBox":
			add(trouble{key: "sandbox", grace: graceSandbox, cause: CauseSandbox, text: e.Message})
		}
	}
	return found
}

// containers is the statuses of all containers of a pod in the order in which they start.
func containers(p *corev1.Pod) []corev1.ContainerStatus {
	all := make([]corev1.ContainerStatus, 0, len(p.Status.InitContainerStatuses)+len(p.Status.ContainerStatuses))
	return append(append(all, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
}

func containerTrouble(p *corev1.Pod, cs corev1.ContainerStatus) (t trouble, bad bool) {
	t = trouble{key: cs.Name, container: cs.Name}
	reason, message := "", ""
	if w := cs.State.Waiting; w != nil {
		reason, message = w.Reason, w.Message
	}
	last := cs.State.Terminated
	if last == nil && cs.LastTerminationState.Terminated != nil {
		last, t.previous = cs.LastTerminationState.Terminated, true
	}
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable",
		"ImageInspectError", "SignatureValidationFailed":
		t.cause, t.text = CauseImage, fmt.Sprintf("image %s cannot be pulled: %s", cs.Image, orElse(message, reason))
		t.previous = false
		return t, true
	case "CreateContainerConfigError", "CreateContainerError":
		t.cause, t.grace, t.text = CauseConfig, graceConfig, fmt.Sprintf("container %s: %s", cs.Name, orElse(message, reason))
		return t, true
	}
	if last == nil {
		return t, false
	}
	t.text = fmt.Sprintf("container %s %s", cs.Name, ended(last))
	switch {
	case last.Reason == "OOMKilled":
		t.cause = CauseMemory
	case last.Reason == "StartError", last.Reason == "ContainerCannotRun":
		t.cause = CauseConfig
	case cs.State.Running == nil && (reason == "CrashLoopBackOff" || cs.RestartCount >= crashLimit) && !succeededInit(p, cs):
		t.cause = CauseCrash
		verb := "crashes"
		if last.ExitCode == 0 && last.Signal == 0 {
			t.cause, verb = CauseEnded, "ends again and again"
		}
		t.text = fmt.Sprintf("container %s %s: it %s (restarts: %d)", cs.Name, verb, ended(last), cs.RestartCount)
	default:
		return t, false
	}
	// A container that runs again and is ready has overcome it.
	return t, !cs.Ready
}

// succeededInit tells whether the container is an init container that ended well, which is its only way to be.
func succeededInit(p *corev1.Pod, cs corev1.ContainerStatus) bool {
	if cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
		return false
	}
	for _, c := range p.Spec.InitContainers {
		if c.Name == cs.Name {
			return true
		}
	}
	return false
}

// ended says how a container came to its end: "exited with code 3", "was killed: out of memory (limit …)".
func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason == "OOMKilled":
		return "was killed for using more memory than its limit"
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		return "could not be started: " + orElse(startError(t.Message), t.Reason)
	case t.Signal != 0:
		return fmt.Sprintf("was ended by signal %d", t.Signal)
	}
	return fmt.Sprintf("exited with code %d", t.ExitCode)
}

// unready is why a pod that runs is not ready, as its last probe said; "" when nothing is known or nothing is wrong.
func unready(p *corev1.Pod, events []*corev1.Event) string {
	if podReady(p) {
		return ""
	}
	var last *corev1.Event
	for _, e := range events {
		if e.InvolvedObject.UID == p.UID && (last == nil || eventTime(last).Before(eventTime(e))) {
			last = e
		}
	}
	if last != nil {
		return fmt.Sprintf("pod %s: %s", p.Name, lowerFirst(strings.TrimSpace(last.Message)))
	}
	for _, cs := range containers(p) {
		if w := cs.State.Waiting; w != nil && w.Reason != "" {
			return fmt.Sprintf("pod %s: %s", p.Name, orElse(w.Message, w.Reason))
		}
	}
	return fmt.Sprintf("pod %s: not ready", p.Name)
}

func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func lowerFirst(s string) string {
	if len(s) < 2 || strings.ToUpper(s[:2]) == s[:2] {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
