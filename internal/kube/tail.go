package kube

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// openTries is how often a log is asked for that the kubelet does not give.
const openTries = 3

// containerKey is one container of one pod.
type containerKey struct {
	pod       types.UID
	container string
}

// instance is one run of one container.
type instance struct {
	containerKey
	restart int32
}

// tailer follows the logs of container instances. Each line is given to line, one at a time, in the order of its
// container; lines of different containers come as they arrive.
type tailer struct {
	client *Client
	line   func(pod *corev1.Pod, container string, stamp time.Time, text string)
	alive  func(instance) bool // whether an instance may still print; asked when its stream broke
	wants  func(container string) bool
	follow bool

	lines   sync.Mutex // serializes line
	mu      sync.Mutex
	logs    map[containerKey]*containerLog
	running sync.WaitGroup
}

// containerLog is what was given of one container's log. Its instances are read one after the other: a stream that was
// taken up again may already read what the next instance prints, since the kubelet knows of it before we do.
type containerLog struct {
	next  int32         // the first restart count that has no stream yet
	ended chan struct{} // closed when the stream of the instance before has ended; nil: there was none
	last  time.Time     // time of the last line that was given; belongs to the stream that runs
}

func (c *Client) newTailer(follow bool, line func(*corev1.Pod, string, time.Time, string)) *tailer {
	return &tailer{
		client: c,
		line:   line,
		alive:  func(instance) bool { return false },
		wants:  func(string) bool { return true },
		follow: follow,
		logs:   map[containerKey]*containerLog{},
	}
}

// see starts the streams of the pod's container instances that have begun and were not seen before. options is the
// template of their requests: tail and since.
func (t *tailer) see(ctx context.Context, p *corev1.Pod, options corev1.PodLogOptions) {
	for _, cs := range containers(p) {
		if cs.State.Running == nil && cs.State.Terminated == nil || !t.wants(cs.Name) {
			continue
		}
		key := instance{containerKey{p.UID, cs.Name}, cs.RestartCount}
		log, before, ended := t.claim(key)
		if log == nil {
			continue
		}
		t.running.Go(func() {
			defer close(ended)
			options := options
			if before != nil {
				<-before
				options = corev1.PodLogOptions{} // all that a later instance prints is new
			}
			t.stream(ctx, p, key, log, options)
		})
	}
}

// claim makes the place for the stream of an instance; log is nil when it has one. ended is to be closed when that
// stream has ended, before is closed when the one of the instance before it has (nil: there was none).
func (t *tailer) claim(key instance) (log *containerLog, before <-chan struct{}, ended chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	log = t.logs[key.containerKey]
	if log == nil {
		log = &containerLog{}
		t.logs[key.containerKey] = log
	}
	if key.restart < log.next {
		return nil, nil, nil
	}
	before = log.ended
	log.ended, log.next = make(chan struct{}), key.restart+1
	return log, before, log.ended
}

// stream copies one instance's log. When following, a broken stream of a container that goes on is taken up after the
// last line it gave, and one that could not be opened is tried again a few times.
func (t *tailer) stream(ctx context.Context, p *corev1.Pod, key instance, log *containerLog, options corev1.PodLogOptions) {
	options.Container, options.Follow, options.Timestamps = key.container, t.follow, true
	for tries := 1; ; tries++ {
		opened := t.copy(ctx, p, log, options)
		again := t.alive(key) || !opened && tries < openTries
		if !t.follow || ctx.Err() != nil || !again {
			return
		}
		if !log.last.IsZero() {
			since := metav1.NewTime(log.last)
			options.SinceTime, options.SinceSeconds, options.TailLines = &since, nil, nil
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

// copy reads the log to its end. Lines up to the last one that was given before are passed over.
func (t *tailer) copy(ctx context.Context, p *corev1.Pod, log *containerLog, options corev1.PodLogOptions) (opened bool) {
	body, err := t.client.Interface.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &options).Stream(ctx)
	if err != nil {
		return false
	}
	defer body.Close()
	after := log.last
	r := bufio.NewReader(body)
	for {
		text, err := r.ReadString('\n')
		if text != "" {
			stamp, rest := cutStamp(strings.TrimRight(text, "\r\n"))
			if stamp.IsZero() || stamp.After(after) {
				t.lines.Lock()
				t.line(p, options.Container, stamp, rest)
				t.lines.Unlock()
			}
			if stamp.After(log.last) {
				log.last = stamp
			}
		}
		if err != nil {
			return true
		}
	}
}

// cutStamp takes the kubelet's time stamp off a log line. A line without one comes back whole.
func cutStamp(text string) (time.Time, string) {
	first, rest, _ := strings.Cut(text, " ")
	stamp, err := time.Parse(time.RFC3339Nano, first)
	if err != nil {
		return time.Time{}, text
	}
	return stamp, rest
}

// finish ends the streams, by stop, and gives what is left of the logs of pods whose containers have ended. It does not wait
// for a followed log to end by itself: the kubelet sees that only up to a second later.
func (t *tailer) finish(ctx context.Context, stop func(), pods []*corev1.Pod) {
	stop()
	t.running.Wait()
	for _, p := range pods {
		for _, cs := range containers(p) {
			log := t.logs[containerKey{p.UID, cs.Name}] // no stream runs any more
			if log == nil {
				continue
			}
			options := corev1.PodLogOptions{Container: cs.Name, Timestamps: true}
			if !log.last.IsZero() {
				since := metav1.NewTime(log.last)
				options.SinceTime = &since
			}
			t.copy(ctx, p, log, options)
		}
	}
}

// drain waits until all streams ended, or for the given time.
func (t *tailer) drain(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		t.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// lastLines is the last n lines that a container printed, nil when they cannot be had.
func (c *Client) lastLines(ctx context.Context, namespace, pod, container string, previous bool, n int64) []string {
	options := &corev1.PodLogOptions{Container: container, TailLines: &n, Previous: previous}
	body, err := c.Interface.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
	if err != nil {
		return nil
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
