package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// drainLog is how long the rest of a finished Job's log is waited for.
const drainLog = 3 * time.Second

// JobState is how far a Job has come.
type JobState string

// The states of a Job.
const (
	JobRunning  JobState = "running" // or not begun yet
	JobComplete JobState = "complete"
	JobFailed   JobState = "failed"
)

// StateOf is the state of a Job as its conditions tell it. A suspended Job counts as failed: it will not go on.
func StateOf(j *batchv1.Job) JobState {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return JobComplete
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			return JobFailed
		}
	}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return JobFailed
	}
	return JobRunning
}

// Jobs are the Jobs of a namespace, by name. One whose only pod has ended well is complete here: the Job itself says so up to
// seconds later, when the pod is cleaned up, and who looks in between must not take it for one that runs.
func (c *Client) Jobs(ctx context.Context, namespace string) (map[string]*batchv1.Job, error) {
	list, err := c.Interface.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	jobs, running := make(map[string]*batchv1.Job, len(list.Items)), false
	for i := range list.Items {
		j := &list.Items[i]
		jobs[j.Name] = j
		running = running || StateOf(j) == JobRunning
	}
	if !running {
		return jobs, nil
	}
	pods, err := c.Interface.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel})
	if err != nil {
		return nil, err
	}
	all := make([]*corev1.Pod, len(pods.Items))
	for i := range pods.Items {
		all[i] = &pods.Items[i]
	}
	for _, j := range jobs {
		if StateOf(j) == JobRunning && onlyPodEnded(j, all) {
			j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue})
		}
	}
	return jobs, nil
}

// RunJob brings the Job to completion and reports under id: each line it prints as Output, and its end. When a Job of that
// name is there already, one that is complete is left alone (exit 0, event Same), one that runs is taken
// up, and one that failed is replaced: its log is kept until then.
//
// err is nil only when the Job is complete. exit is the exit code of the container that decided, -1 when none ran to
// its end. A Job whose container could not even start is deleted, so that it does not run later, unwatched; other Jobs
// stay. Cancelling ctx leaves the Job running.
func (c *Client) RunJob(ctx context.Context, job *batchv1.Job, r progress.Reporter, id string) (exit int, err error) {
	defer func() {
		if err != nil {
			r.Report(progress.Event{ID: id, Status: progress.Failed, Text: Reason(err)})
		}
	}()
	namespace := orElse(job.Namespace, c.Namespace)
	live, err := c.submit(ctx, namespace, job)
	if err != nil {
		return -1, c.Explain(fmt.Errorf("job %s: %w", job.Name, err))
	}
	if StateOf(live) == JobComplete {
		r.Report(progress.Event{ID: id, Status: progress.Same, Text: "already complete"})
		return 0, nil
	}
	r.Report(progress.Event{ID: id, Status: progress.Working, Text: "waiting for a pod"})

	t := c.newTailer(true, func(_ *corev1.Pod, _ string, _ time.Time, text string) {
		r.Report(progress.Event{ID: id, Status: progress.Output, Text: text})
	})
	logs, stop := context.WithCancel(ctx)
	defer stop()
	w := c.newWait(live)
	w.service, w.title = "", "job "+job.Name
	w.hint = fmt.Sprintf("perch kubectl logs -n %s job/%s", namespace, job.Name)
	w.progress, w.ended = func(*wait, verdict) {}, true
	t.alive = func(key instance) bool {
		s, _ := w.scene()
		return runs(s.pods, key)
	}
	running := false
	w.onPods = func(pods []*corev1.Pod) {
		for _, p := range pods {
			if !metav1.IsControlledBy(p, live) {
				continue
			}
			if !running && p.Status.Phase == corev1.PodRunning {
				running = true
				r.Report(progress.Event{ID: id, Status: progress.Working, Text: "running"})
			}
			t.see(logs, p, corev1.PodLogOptions{})
		}
	}
	err = w.run(ctx)
	if err == nil {
		rest, cancel := context.WithTimeout(ctx, drainLog)
		defer cancel()
		s, _ := w.scene()
		t.finish(rest, stop, slices.DeleteFunc(s.pods, func(p *corev1.Pod) bool { return !metav1.IsControlledBy(p, live) }))
		r.Report(progress.Event{ID: id, Status: progress.Done, Text: "complete"})
		return 0, nil
	}
	return c.endJob(ctx, live, t, err)
}

// submit makes sure that a Job of that name runs or is complete, and gives it.
func (c *Client) submit(ctx context.Context, namespace string, job *batchv1.Job) (*batchv1.Job, error) {
	jobs := c.Interface.BatchV1().Jobs(namespace)
	for {
		live, err := jobs.Get(ctx, job.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			wanted := job.DeepCopy()
			wanted.Namespace = namespace
			live, err = jobs.Create(ctx, wanted, metav1.CreateOptions{FieldManager: FieldManager})
			if apierrors.IsAlreadyExists(err) {
				continue
			}
			return live, err
		case err != nil:
			return nil, err
		case live.DeletionTimestamp == nil && StateOf(live) != JobFailed:
			return live, nil
		}
		if err := c.deleteJob(ctx, live); err != nil {
			return nil, err
		}
		if err := waitGone(ctx, jobSource(jobs, job.Name), live.UID); err != nil {
			return nil, err
		}
	}
}

// deleteJob deletes exactly this Job and its pods in the background.
func (c *Client) deleteJob(ctx context.Context, job *batchv1.Job) error {
	policy := metav1.DeletePropagationBackground
	err := c.Interface.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &job.UID},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// endJob finds the exit code of a Job that did not complete and deletes one that never started.
func (c *Client) endJob(ctx context.Context, job *batchv1.Job, t *tailer, err error) (int, error) {
	cause, ok := errors.AsType[*RolloutError](err)
	if !ok || cause.Cause == CauseSilent { // it may well run
		return -1, err
	}
	exit := -1
	if pod, gerr := c.Interface.CoreV1().Pods(job.Namespace).Get(ctx, cause.Pod, metav1.GetOptions{}); cause.Pod != "" && gerr == nil {
		t.see(ctx, pod, corev1.PodLogOptions{})
		for _, cs := range containers(pod) {
			if end := cs.State.Terminated; end != nil && exit <= 0 {
				exit = int(end.ExitCode)
			}
		}
	}
	switch cause.Cause {
	case CauseJob:
		t.drain(drainLog)
	case CauseTime:
	default:
		// The job has not begun. Left alone, it would run when the trouble goes away, with nobody looking.
		if derr := c.deleteJob(context.WithoutCancel(ctx), job); derr != nil {
			return exit, errors.Join(err, derr)
		}
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return exit, &fault.Error{Kind: fault.Other, Err: cause, Hint: f.Hint, Output: f.Output}
	}
	return exit, err
}
