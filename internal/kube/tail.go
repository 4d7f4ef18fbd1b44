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

// instance is one run of one container.
type instance struct {
	pod       types.UID
	container string
	restart   int32
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
	streams map[instance]bool
	running sync.WaitGroup
}

func (c *Client) newTailer(follow bool, line func(*corev1.Pod, string, time.Time, string)) *tailer {
	return &tailer{
		client:  c,
		line:    line,
		alive:   func(instance) bool { return false },
		wants:   func(string) bool { return true },
		follow:  follow,
		streams: map[instance]bool{},
	}
}

// see starts the streams of the pod's container instances that have begun and were not seen before. options is the
// template of their requests: tail and since.
func (t *tailer) see(ctx context.Context, p *corev1.Pod, options corev1.PodLogOptions) {
	for _, cs := range containers(p) {
		if cs.State.Running == nil && cs.State.Terminated == nil || !t.wants(cs.Name) {
			continue
		}
		key := instance{pod: p.UID, container: cs.Name, restart: cs.RestartCount}
		t.mu.Lock()
		known := t.streams[key]
		t.streams[key] = true
		t.mu.Unlock()
		if known {
			continue
		}
		t.running.Go(func() { t.stream(ctx, p, key, options) })
	}
}

// stream copies one instance's log. When following, a broken stream of a container that goes on is taken up after the
// last line it gave.
func (t *tailer) stream(ctx context.Context, p *corev1.Pod, key instance, options corev1.PodLogOptions) {
	options.Container, options.Follow, options.Timestamps = key.container, t.follow, true
	var last time.Time
	for {
		last = t.copy(ctx, p, options, last)
		if !t.follow || ctx.Err() != nil || !t.alive(key) {
			return
		}
		if !last.IsZero() {
			since := metav1.NewTime(last)
			options.SinceTime, options.SinceSeconds, options.TailLines = &since, nil, nil
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

// copy reads the log to its end and gives the time of the last line. Lines up to after were given before.
func (t *tailer) copy(ctx context.Context, p *corev1.Pod, options corev1.PodLogOptions, after time.Time) (last time.Time) {
	last = after
	body, err := t.client.Interface.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &options).Stream(ctx)
	if err != nil {
		return last
	}
	defer body.Close()
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
			if stamp.After(last) {
				last = stamp
			}
		}
		if err != nil {
			return last
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
	data, err := io.ReadAll(io.LimitReader(body, 256<<10))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
