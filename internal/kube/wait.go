package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// outputLines is how many of the last log lines an error carries.
const outputLines = 20

// crashLines is how many of them the error of a crash carries: the log of a start as a whole, as a rule, since nothing else
// has shown it.
const crashLines = 200

// scaleUpPatience is how long a pod may stay unscheduled once a cluster autoscaler adds a node for it.
const scaleUpPatience = 10 * time.Minute

// logPatience bounds how long a failing wait tries to fetch those lines.
const logPatience = 3 * time.Second

// RolloutError is why a workload did not become ready. It is found in the tree of the fault.Error that WaitReady and
// RunJob return.
type RolloutError struct {
	Workload string // as "service web" or "job web-pre-start-0"
	Service  string // Compose's name; "" for the Job of a migration
	Pod      string // "" when the trouble is with the workload as a whole
	Cause    Cause
	Text     string
	Event    string // the last warning about the pod, as "REASON: message"; "" when there is none that adds to Text
}

func (e *RolloutError) Error() string {
	text := e.Text
	if e.Event != "" {
		text += "; last event: " + e.Event
	}
	if e.Pod == "" {
		return e.Workload + ": " + text
	}
	return e.Workload + ": pod " + e.Pod + ": " + text
}

// Reason is an error's text for an event, without the name of the workload, which the event has.
func Reason(err error) string {
	e, ok := errors.AsType[*RolloutError](err)
	switch {
	case !ok:
		return err.Error()
	case e.Pod == "" || e.Cause == CauseJob:
		return e.Text
	}
	return "pod " + e.Pod + ": " + e.Text
}

// WaitReady waits until every Deployment, StatefulSet and DaemonSet among objs is rolled out and every Job complete, by
// watching; other kinds are passed over. It ends at once when one of them cannot get there, with a *fault.Error of
// kind Rollout that holds the cause (a *RolloutError), the last log lines and a hint. When the context's deadline
// passes, the error carries the last thing observed. Progress is reported as "2/3 ready" under id.
func (c *Client) WaitReady(ctx context.Context, objs []runtime.Object, r progress.Reporter, id string) error {
	return c.await(ctx, objs, r, id, false)
}

// WaitStarted is WaitReady for what nobody waits for to end: a Job may still run, and it is enough that it has begun.
func (c *Client) WaitStarted(ctx context.Context, objs []runtime.Object, r progress.Reporter, id string) error {
	return c.await(ctx, objs, r, id, true)
}

func (c *Client) await(ctx context.Context, objs []runtime.Object, r progress.Reporter, id string, begun bool) error {
	var waits []*wait
	tally := &tally{reporter: r, id: id, of: map[*wait]verdict{}}
	for _, o := range objs {
		if w := c.newWait(o); w != nil {
			w.progress, w.begun = tally.set, begun
			tally.of[w] = verdict{}
			waits = append(waits, w)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range waits {
		g.Go(func() error { return w.run(ctx) })
	}
	return g.Wait()
}

// tally adds up the progress of several workloads under one event ID.
type tally struct {
	reporter progress.Reporter
	id       string

	mu   sync.Mutex
	of   map[*wait]verdict
	last string
}

func (t *tally) set(w *wait, v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[w] = v
	var ready, total int64
	for _, v := range t.of {
		ready, total = ready+int64(v.ready), total+int64(v.total)
	}
	text := fmt.Sprintf("%d/%d ready", ready, total)
	if text == t.last {
		return
	}
	t.last = text
	t.reporter.Report(progress.Event{ID: t.id, Text: text, Status: progress.Working, Current: ready, Total: total})
}

// wait watches one workload until it is ready or cannot become so.
type wait struct {
	client    *Client
	namespace string
	name      string
	service   string // Compose's name; "" for the Job of a migration
	title     string // "service web"
	hint      string // the command that shows more, for causes that have a log
	begun     bool   // it is enough that a Job has begun
	ended     bool   // it is enough that a Job's pod has ended well
	progress  func(*wait, verdict)
	onPods    func([]*corev1.Pod) // called with the workload's pods at each change; may be nil

	start  func(ctx context.Context, g *errgroup.Group, changed func()) // starts the mirrors
	scene  func() (s scene, synced bool)
	stale  map[types.UID]string // resource versions of the events that were there at the start
	firsts map[string]time.Time // when each trouble was first seen
}

// newWait makes the wait for a workload; nil when the object is of a kind that is not waited for.
func (c *Client) newWait(o runtime.Object) *wait {
	w := &wait{client: c, firsts: map[string]time.Time{}}
	meta, ok := o.(metav1.Object)
	if !ok {
		return nil
	}
	w.namespace, w.name = orElse(meta.GetNamespace(), c.Namespace), meta.GetName()
	service := meta.GetAnnotations()[ServiceAnnotation]
	switch o.(type) {
	case *appsv1.Deployment:
		source := deploymentSource(c.Interface.AppsV1().Deployments(w.namespace), w.name)
		watchWorkload(w, source, podsOf(o), true)
	case *appsv1.StatefulSet:
		source := statefulSetSource(c.Interface.AppsV1().StatefulSets(w.namespace), w.name)
		watchWorkload(w, source, podsOf(o), false)
	case *appsv1.DaemonSet:
		source := daemonSetSource(c.Interface.AppsV1().DaemonSets(w.namespace), w.name)
		watchWorkload(w, source, podsOf(o), false)
	case *batchv1.Job:
		source := jobSource(c.Interface.BatchV1().Jobs(w.namespace), w.name)
		watchWorkload(w, source, podsOf(o), false)
	default:
		return nil
	}
	w.service, w.title, w.hint = service, "service "+service, "perch logs "+service
	if service == "" {
		w.title = w.name
		w.hint = fmt.Sprintf("perch kubectl logs -n %s %s", w.namespace, w.name)
	}
	return w
}

// watchWorkload gives the wait its mirrors: the workload, its pods, the warnings of its namespace, and for a
// Deployment its ReplicaSets.
func watchWorkload[T any, P interface {
	*T
	runtime.Object
}](w *wait, s source[T], selector *metav1.LabelSelector, sets bool) {
	labels := metav1.FormatLabelSelector(selector)
	core, apps := w.client.Interface.CoreV1(), w.client.Interface.AppsV1()
	w.start = func(ctx context.Context, g *errgroup.Group, changed func()) {
		workload := newMirror(s, changed)
		pods := newMirror(podSource(core.Pods(w.namespace), labels), changed)
		events := newMirror(eventSource(core.Events(w.namespace)), changed)
		replicaSets := newMirror(replicaSetSource(apps.ReplicaSets(w.namespace), labels), changed)
		g.Go(func() error { return workload.run(ctx) })
		g.Go(func() error { return pods.run(ctx) })
		g.Go(func() error { return events.run(ctx) })
		if sets {
			g.Go(func() error { return replicaSets.run(ctx) })
		}
		w.scene = func() (scene, bool) {
			found, s1 := workload.snapshot()
			ps, s2 := pods.snapshot()
			es, s3 := events.snapshot()
			rs, s4 := replicaSets.snapshot()
			all := scene{pods: ps, events: es, sets: rs}
			if len(found) > 0 {
				all.workload = P(found[0])
			}
			return all, s1 && s2 && s3 && (s4 || !sets)
		}
	}
}

// run watches until the verdict. The mirrors have ended when it returns.
func (w *wait) run(ctx context.Context) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	g, inner := errgroup.WithContext(inner)
	wake := make(chan struct{}, 1)
	w.start(inner, g, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	err := w.loop(ctx, inner, wake)
	stop()
	if gerr := g.Wait(); gerr != nil {
		return fmt.Errorf("%s: %w", w.title, gerr)
	}
	return err
}

// loop judges after each change, and again when the grace of a trouble runs out. outer is the caller's context, whose
// end is told with the last thing seen; inner also ends when a mirror gave up.
func (w *wait) loop(outer, inner context.Context, wake <-chan struct{}) error {
	var last verdict
	recheck := time.NewTimer(time.Hour)
	defer recheck.Stop()
	for {
		select {
		case <-inner.Done():
			if outer.Err() == nil {
				return nil // run tells the mirror's error
			}
			return w.timeout(outer, last)
		case <-wake:
		case <-recheck.C:
		}
		s, synced := w.scene()
		if !synced {
			continue
		}
		w.dropStale(&s)
		if w.onPods != nil {
			w.onPods(s.pods)
		}
		last = judge(s)
		w.progress(w, last)
		begun := w.begun && last.started && len(last.troubles) == 0
		if last.done || begun || w.ended && last.ended {
			return nil
		}
		t, next := w.ripe(last.troubles, time.Now())
		if t != nil && t.cause == CauseUnschedulable && w.scalingUp(outer, t.pod) {
			w.firsts[t.key] = time.Now().Add(scaleUpPatience)
			t, next = nil, scaleUpPatience+t.grace
		}
		if t != nil {
			return w.fail(outer, *t)
		}
		if next > 0 {
			recheck.Reset(next)
		}
	}
}

// dropStale removes the events about the workload itself that were there before the wait began: they may tell of a
// trouble that the last deploy had.
func (w *wait) dropStale(s *scene) {
	if w.stale == nil {
		w.stale = map[types.UID]string{}
		for _, e := range s.events {
			w.stale[e.UID] = e.ResourceVersion
		}
	}
	meta, ok := s.workload.(metav1.Object)
	if !ok {
		return
	}
	kept := make([]*corev1.Event, 0, len(s.events))
	for _, e := range s.events {
		if e.InvolvedObject.UID != meta.GetUID() || w.stale[e.UID] != e.ResourceVersion {
			kept = append(kept, e)
		}
	}
	s.events = kept
}

// ripe is the first trouble that has lasted for its grace, else how long to wait for the next one to do so (0: none).
func (w *wait) ripe(troubles []trouble, now time.Time) (*trouble, time.Duration) {
	firsts := make(map[string]time.Time, len(troubles))
	var next time.Duration
	for i, t := range troubles {
		first, ok := w.firsts[t.key]
		if !ok {
			first = now
		}
		firsts[t.key] = first
		left := t.grace - now.Sub(first)
		if left <= 0 {
			return &troubles[i], 0
		}
		if next == 0 || left < next {
			next = left
		}
	}
	w.firsts = firsts // a trouble that went away starts anew when it comes back
	return nil, next
}

// scalingUp tells whether a cluster autoscaler said that it adds a node for the pod.
func (w *wait) scalingUp(ctx context.Context, pod string) bool {
	events, err := w.client.Interface.CoreV1().Events(w.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "reason=TriggeredScaleUp,involvedObject.name=" + pod,
	})
	return err == nil && len(events.Items) > 0
}

func (w *wait) fail(ctx context.Context, t trouble) error {
	lctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	if t.pod != "" && t.cause != CauseJob {
		t = t.with(w.client.eventsOf(lctx, w.namespace, t.pod))
	}
	e := &RolloutError{Workload: w.title, Service: w.service, Pod: t.pod, Cause: t.cause, Text: t.text, Event: t.event}
	f := &fault.Error{Kind: fault.Rollout, Err: e, Hint: w.hintFor(t)}
	if t.container == "" {
		return f
	}
	switch t.cause {
	case CauseCrash, CauseEnded, CauseMemory:
		f.Output = w.client.lastLines(lctx, w.namespace, t.pod, t.container, t.previous, crashLines)
	case CauseJob: // its lines have been told as they came
		f.Output = w.client.lastLines(lctx, w.namespace, t.pod, t.container, t.previous, outputLines)
	default:
	}
	return f
}

// timeout is the error for a wait whose context ended: with the last thing observed when its time ran out, or when the context's
// cause is that nobody answers.
func (w *wait) timeout(ctx context.Context, last verdict) error {
	cause := context.Cause(ctx)
	if fault.KindOf(cause) == fault.Unreachable {
		return w.lastSeen(last)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause
	}
	text := fmt.Sprintf("not ready in time: %d/%d ready", last.ready, last.total)
	f := &fault.Error{Kind: fault.Rollout, Hint: w.hint}
	if len(last.troubles) > 0 {
		t := last.troubles[0]
		text += "; " + t.place()
		f.Hint = w.hintFor(t)
	} else if last.note != "" {
		text += "; " + last.note
		f.Hint = w.noteHint(last.note)
	}
	f.Err = &RolloutError{Workload: w.title, Service: w.service, Cause: CauseTime, Text: text}
	lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logPatience)
	defer cancel()
	f.Output = w.unreadyLines(lctx)
	return f
}

// unreadyLines is the last log lines of the first pod that is not ready.
func (w *wait) unreadyLines(ctx context.Context) []string {
	s, _ := w.scene()
	for _, p := range s.pods {
		if podReady(p) || p.DeletionTimestamp != nil {
			continue
		}
		for _, cs := range p.Status.ContainerStatuses {
			if cs.State.Running != nil && !cs.Ready {
				return w.client.lastLines(ctx, w.namespace, p.Name, cs.Name, false, outputLines)
			}
		}
	}
	return nil
}
