package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// settled is for how long a container that has crashed must run to count as well again.
const settled = time.Minute

// Diagnosis is how a workload is, and when it is not well, why.
type Diagnosis struct {
	Service  string   `json:"service"`
	Workload string   `json:"workload"` // as "deployment web"
	Well     bool     `json:"well"`
	Ready    int      `json:"ready"` // pods, or completions of a Job
	Total    int      `json:"total"`
	Cause    Cause    `json:"cause,omitempty"`
	Pod      string   `json:"pod,omitempty"` // "" when the trouble is with the workload as a whole
	Text     string   `json:"text,omitempty"`
	Event    string   `json:"event,omitempty"` // the last warning about the pod, where it adds to the text
	Log      []string `json:"log,omitempty"`   // the last lines of the container that is in trouble
	Next     string   `json:"next,omitempty"`  // a command or a line to change
}

// Diagnose judges workloads as a wait for them does, but at once: what a deploy gives a few seconds to pass by is told too.
// A Job that ended well is well, one that still runs is too.
func (c *Client) Diagnose(ctx context.Context, workloads []Workload) ([]Diagnosis, error) {
	all := make([]Diagnosis, len(workloads))
	g, ctx := errgroup.WithContext(ctx)
	for i, workload := range workloads {
		g.Go(func() error {
			s, err := c.sceneOf(ctx, workload)
			if err != nil {
				return c.Explain(fmt.Errorf("%s %s: %w", workload.Kind(), workload.Name(), err))
			}
			all[i] = c.diagnose(ctx, workload, s)
			return nil
		})
	}
	return all, g.Wait()
}

// sceneOf is all that is known of a workload now.
func (c *Client) sceneOf(ctx context.Context, w Workload) (scene, error) {
	meta, _ := w.Object.(metav1.Object)
	s := scene{workload: w.Object}
	labels := metav1.FormatLabelSelector(podsOf(w.Object))
	if _, ok := w.Object.(*appsv1.Deployment); ok {
		sets, err := c.Interface.AppsV1().ReplicaSets(meta.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: labels})
		if err != nil {
			return s, err
		}
		for i := range sets.Items {
			s.sets = append(s.sets, &sets.Items[i])
		}
	}
	pods, err := c.Interface.CoreV1().Pods(meta.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return s, err
	}
	for i := range pods.Items {
		s.pods = append(s.pods, &pods.Items[i])
	}
	events, err := c.Interface.CoreV1().Events(meta.GetNamespace()).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return s, err
	}
	for i := range events.Items {
		s.events = append(s.events, &events.Items[i])
	}
	return s, nil
}

func (c *Client) diagnose(ctx context.Context, workload Workload, s scene) Diagnosis {
	v := judge(s)
	d := Diagnosis{
		Service: workload.Service, Workload: workload.Kind() + " " + workload.Name(), Ready: int(v.ready), Total: int(v.total),
	}
	w := c.newWait(workload.Object)
	var t trouble
	switch _, isJob := workload.Object.(*batchv1.Job); {
	case len(v.troubles) > 0:
		t = v.troubles[0]
	case isJob && (v.done || v.started):
		d.Well = true
		return d
	default:
		var again bool
		if t, again = startedAgain(s, time.Now()); again {
			break
		}
		if v.done {
			d.Well = true
			return d
		}
		t = notReady(s, v)
	}
	if t.pod != "" && t.cause != CauseJob {
		t = t.with(c.eventsOf(ctx, w.namespace, t.pod))
	}
	d.Cause, d.Pod, d.Text, d.Event, d.Next = t.cause, t.pod, t.text, t.event, w.hintFor(t)
	if t.container != "" {
		lctx, cancel := context.WithTimeout(ctx, logPatience)
		defer cancel()
		d.Log = c.lastLines(lctx, w.namespace, t.pod, t.container, t.previous, outputLines)
		if d.Log == nil { // it has printed nothing yet since it was started again
			d.Log = c.lastLines(lctx, w.namespace, t.pod, t.container, !t.previous, outputLines)
		}
	}
	return d
}

// startedAgain is a container that has crashed and runs, for so short a time that it may well crash again: without a probe, a
// crashing one is ready in between.
func startedAgain(s scene, now time.Time) (trouble, bool) {
	for _, p := range s.pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		for _, cs := range p.Status.ContainerStatuses {
			end := cs.LastTerminationState.Terminated
			if end == nil || end.ExitCode == 0 || cs.State.Running != nil && now.Sub(cs.State.Running.StartedAt.Time) > settled {
				continue
			}
			t := trouble{cause: CauseCrash, pod: p.Name, container: cs.Name, previous: true}
			if end.Reason == "OOMKilled" {
				t.cause = CauseMemory
			}
			t.text = fmt.Sprintf("container %s %s and was started again (restarts: %d)", cs.Name, ended(end), cs.RestartCount)
			return t, true
		}
	}
	return trouble{}, false
}

// notReady is a workload without a trouble that is not ready: its first pod that is not.
func notReady(s scene, v verdict) trouble {
	t := trouble{cause: CauseTime, text: orElse(v.note, fmt.Sprintf("%d/%d ready", v.ready, v.total))}
	for _, p := range s.pods {
		if podReady(p) || p.DeletionTimestamp != nil {
			continue
		}
		all := containers(p)
		i := slices.IndexFunc(all, func(cs corev1.ContainerStatus) bool {
			return !cs.Ready && (cs.State.Running != nil || cs.State.Terminated != nil && cs.State.Terminated.ExitCode != 0)
		})
		if i < 0 {
			continue
		}
		t.pod, t.container = p.Name, all[i].Name
		t.text = strings.TrimPrefix(orElse(unready(p, s.events), "not ready"), "pod "+p.Name+": ")
		return t
	}
	return t
}
