package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

const (
	attachAgain   = 30 * time.Millisecond // between attempts to attach to a container that is about to begin
	removeWithin  = 10 * time.Second      // for the Job to be deleted at the end
	leftoverAfter = int32(60)             // seconds after which the cluster removes an ended Job that we did not
	commandFailed = 126                   // a shell's exit code for a program that cannot be started
)

// OneOff is a Job that runs once with somebody at its streams, and is removed then.
type OneOff struct {
	Job    *batchv1.Job     // of one container; it is changed
	Config []runtime.Object // what it reads, which becomes its own and goes with it
	Gate   bool             // the image has a shell to wait in, and Command of the container is all that runs

	Stdin  io.Reader // nil: none
	Stdout io.Writer
	Stderr io.Writer           // not used with TTY: the terminal has one stream
	TTY    bool                // the caller puts its own terminal into raw mode when Begun is called
	Resize <-chan TerminalSize // sizes of the caller's terminal, the first one at once; nil: not told
	Begun  func()              // called once before the streams carry anything of the command; may be nil
}

// RunOnce runs the Job and gives the exit code of its container; err is for what kept it from running, with an exit code of
// 126 or 127, as a shell has them, when the program could not be started, else -1. Whatever happens, ctx done too, the Job
// is deleted: its pod gets the stop signal and its grace period, then nothing of it is left.
//
// Without Gate, what the container prints is read from its log, both streams as one; on a terminal what it prints in its
// first moment can be missing.
func (c *Client) RunOnce(ctx context.Context, o OneOff, r progress.Reporter, id string) (exit int, err error) {
	o.Job.Namespace = orElse(o.Job.Namespace, c.Namespace)
	o.prepare()
	live, err := c.createOnce(ctx, o)
	if live != nil {
		defer func() {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
			defer cancel()
			if derr := c.deleteJob(late, live); derr != nil {
				err = errors.Join(err, fmt.Errorf("job %s: %w", live.Name, derr))
			}
		}()
	}
	if err != nil && ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if err != nil {
		return -1, c.Explain(fmt.Errorf("job %s: %w", o.Job.Name, err))
	}
	r.Report(progress.Event{ID: id, Status: progress.Working, Text: "starting"})
	begun := o.Begun
	o.Begun = func() {
		r.Report(progress.Event{ID: id, Status: progress.Done, Text: "running"})
		if begun != nil {
			begun()
		}
	}
	once := &onceRun{client: c, OneOff: o, started: make(chan *corev1.Pod, 1), running: make(chan struct{})}
	exit, err = once.run(ctx, live)
	if err != nil {
		r.Report(progress.Event{ID: id, Status: progress.Failed, Text: Reason(err)})
	}
	return exit, err
}

// prepare makes the Job one that can be attached to, and that goes by itself if we are killed.
func (o *OneOff) prepare() {
	o.Job.Spec.Suspend = new(true)
	o.Job.Spec.TTLSecondsAfterFinished = new(leftoverAfter)
	container := &o.Job.Spec.Template.Spec.Containers[0]
	container.Stdin, container.TTY = o.Gate || o.Stdin != nil || o.TTY, o.TTY
	container.StdinOnce = container.Stdin
	if o.Gate {
		container.Command = gated(container.Command)
	}
}

// createOnce makes the Job, which waits until its config is there and its own, so that nothing is left of either.
func (c *Client) createOnce(ctx context.Context, o OneOff) (*batchv1.Job, error) {
	jobs := c.Interface.BatchV1().Jobs(o.Job.Namespace)
	live, err := jobs.Create(ctx, o.Job, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, err
	}
	owner := *metav1.NewControllerRef(live, batchv1.SchemeGroupVersion.WithKind("Job"))
	for _, object := range o.Config {
		if meta, ok := object.(metav1.Object); ok {
			meta.SetOwnerReferences([]metav1.OwnerReference{owner})
		}
	}
	if err := c.Apply(ctx, o.Config); err != nil {
		return live, err
	}
	_, err = jobs.Patch(ctx, live.Name, types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{FieldManager: FieldManager})
	return live, err
}

// onceRun is one run that is under way.
type onceRun struct {
	OneOff
	client  *Client
	started chan *corev1.Pod // its pod, when it has a node
	running chan struct{}    // closed when its container was seen running, or at its end

	mu      sync.Mutex
	ended   *corev1.ContainerStateTerminated
	podSeen bool
	runs    bool
}

// run watches the Job's pod and carries its streams until the container has ended.
func (o *onceRun) run(ctx context.Context, live *batchv1.Job) (int, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	w := o.client.newWait(live)
	w.title = "run " + orElse(live.Annotations[ServiceAnnotation], live.Name)
	w.progress = func(*wait, verdict) {}
	w.onPods = func(pods []*corev1.Pod) {
		if i := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return metav1.IsControlledBy(p, live) }); i >= 0 && o.see(pods[i]) {
			stop()
		}
	}
	streaming, quit := context.WithCancel(ctx)
	defer quit()
	streams := make(chan error, 1)
	go func() { streams <- o.carry(streaming) }()
	err := w.run(watching)
	end := o.end()
	if end == nil {
		quit()
		if serr := <-streams; err == nil {
			err = serr
		}
		return -1, err
	}
	// The container has ended: its streams end by themselves, when all of them has come.
	timer := time.AfterFunc(drainLog, quit)
	defer timer.Stop()
	if serr := <-streams; serr != nil && ctx.Err() == nil && streaming.Err() == nil {
		return int(end.ExitCode), serr
	}
	return o.exit(live, end)
}

// see takes note of the pod and tells whether its container has ended.
func (o *onceRun) see(p *corev1.Pod) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.podSeen && p.Spec.NodeName != "" {
		o.podSeen = true
		o.started <- p
	}
	for _, cs := range p.Status.ContainerStatuses {
		if (cs.State.Running != nil || cs.State.Terminated != nil) && !o.runs {
			o.runs = true
			close(o.running)
		}
		if cs.State.Terminated != nil {
			o.ended = cs.State.Terminated
			return true
		}
	}
	return false
}

func (o *onceRun) end() *corev1.ContainerStateTerminated {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// exit is what the end of the container means.
func (o *onceRun) exit(live *batchv1.Job, end *corev1.ContainerStateTerminated) (int, error) {
	title := orElse(live.Annotations[ServiceAnnotation], live.Name)
	if end.Reason != "StartError" && end.Reason != "ContainerCannotRun" {
		return int(end.ExitCode), nil
	}
	code := commandFailed
	if missing(errors.New(end.Message)) {
		code = notFound
	}
	return code, fault.New(fault.Other, "", "run %s: %s", title, ended(end))
}

// carry carries the streams until they end.
func (o *onceRun) carry(ctx context.Context) error {
	var pod *corev1.Pod
	select {
	case <-ctx.Done():
		return nil
	case pod = <-o.started:
	}
	if o.Gate {
		return o.attachGated(ctx, pod)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-o.running:
	}
	o.Begun()
	if o.TTY {
		return o.attach(ctx, pod, o.Stdin, o.Stdout, sizeQueue{ctx, o.Resize})
	}
	return o.follow(ctx, pod)
}

// attachGated attaches as soon as the container is there, which its pod tells only up to a second later.
func (o *onceRun) attachGated(ctx context.Context, pod *corev1.Pod) error {
	g := newGate(o.Stdout, o.Begun)
	defer g.flush()
	for {
		attempt, cancel := context.WithCancel(ctx)
		err := o.attach(attempt, pod, g.input(attempt, o.Stdin), g, gatedSizes{sizeQueue{attempt, o.Resize}, g.heard})
		cancel()
		select {
		case <-g.open:
			return err
		default:
		}
		if o.end() != nil || ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(attachAgain):
		}
	}
}

// attach joins the streams of the container until they end.
func (o *onceRun) attach(ctx context.Context, pod *corev1.Pod, stdin io.Reader, stdout io.Writer, sizes remotecommand.TerminalSizeQueue) error {
	options := &corev1.PodAttachOptions{
		Container: pod.Spec.Containers[0].Name,
		Stdin:     stdin != nil, Stdout: stdout != nil, Stderr: stdout != nil && o.Stderr != nil && !o.TTY, TTY: o.TTY,
	}
	request := o.client.Interface.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("attach").VersionedParams(options, scheme.ParameterCodec)
	executor, err := o.client.executor(request.URL())
	if err != nil {
		return fmt.Errorf("attach to pod %s: %w", pod.Name, err)
	}
	streams := remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Tty: o.TTY}
	if options.Stderr {
		streams.Stderr = o.Stderr
	}
	if o.Resize != nil && o.TTY {
		streams.TerminalSizeQueue = sizes
	}
	if err := executor.StreamWithContext(ctx, streams); err != nil && ctx.Err() == nil {
		return fmt.Errorf("attach to pod %s: %w", pod.Name, err)
	}
	return nil
}

// follow copies the log, and the input to the container, for an image without a shell.
func (o *onceRun) follow(ctx context.Context, pod *corev1.Pod) error {
	var input sync.WaitGroup
	defer input.Wait()
	feeding, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Stdin != nil {
		input.Go(func() { _ = o.attach(feeding, pod, o.Stdin, nil, nil) }) // one that ends without reading closes it on us
	}
	for {
		body, err := o.client.Interface.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
			Container: pod.Spec.Containers[0].Name, Follow: true,
		}).Stream(ctx)
		if err == nil {
			_, err = io.Copy(o.Stdout, body)
			_ = body.Close() // it was only read
			return err
		}
		if apierrors.IsNotFound(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(attachAgain):
		}
	}
}
