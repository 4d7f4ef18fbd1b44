package kube

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LogOptions say which logs are wanted.
type LogOptions struct {
	Namespace  string        // "" is the client's
	Services   []string      // Kubernetes names (app.kubernetes.io/name); empty: all that Selector lets through
	Releases   []string      // besides Services: all pods of these Helm releases that Selector lets through
	Selector   string        // a label selector; "" is all pods
	Containers []string      // empty: all
	Except     []string      // containers that are left out
	Follow     bool          // go on until ctx is done, with pods that come later
	Tail       int64         // lines of each container to begin with; negative: all
	Since      time.Duration // 0: from the beginning
	Timestamps bool          // put the time before each line, as RFC 3339 with nanoseconds
}

// Logs gives each line of the pods' logs to line, which is called by one goroutine at a time. Without Follow the lines
// of all containers come in the order of their time. With Follow they come as they are printed; pods that are
// replaced, restarted or added are picked up, and Logs returns nil when ctx is done.
func (c *Client) Logs(ctx context.Context, o LogOptions, line func(pod, container, text string)) error {
	o.Namespace = orElse(o.Namespace, c.Namespace)
	selector, err := o.selector()
	if err != nil {
		return err
	}
	if o.Follow {
		return c.follow(ctx, o, selector, line)
	}
	pods, err := c.Interface.CoreV1().Pods(o.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return c.Explain(fmt.Errorf("pods in namespace %s: %w", o.Namespace, err))
	}
	type entry struct {
		stamp          time.Time
		pod, container string
		text           string
	}
	var all []entry
	t := c.newTailer(false, func(p *corev1.Pod, container string, stamp time.Time, text string) {
		all = append(all, entry{stamp, p.Name, container, text})
	})
	t.wants = o.wants
	for i := range pods.Items {
		if o.wantsPod(&pods.Items[i]) {
			t.see(ctx, &pods.Items[i], o.request(true))
		}
	}
	t.running.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].stamp.Before(all[j].stamp) })
	for _, e := range all {
		line(e.pod, e.container, stamped(o.Timestamps, e.stamp, e.text))
	}
	return nil
}

// follow keeps a mirror of the pods and a stream for each container instance that begins.
func (c *Client) follow(ctx context.Context, o LogOptions, selector string, line func(pod, container, text string)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t := c.newTailer(true, func(p *corev1.Pod, container string, stamp time.Time, text string) {
		line(p.Name, container, stamped(o.Timestamps, stamp, text))
	})
	t.wants = o.wants
	var m *mirror[corev1.Pod]
	t.alive = func(key instance) bool {
		pods, _ := m.snapshot()
		return runs(pods, key)
	}
	known := map[types.UID]bool{}
	first := sync.OnceFunc(func() {
		pods, _ := m.snapshot()
		for _, p := range pods {
			known[p.UID] = true
		}
	})
	m = newMirror(podSource(c.Interface.CoreV1().Pods(o.Namespace), selector), func() {
		first()
		pods, _ := m.snapshot()
		for _, p := range pods {
			if o.wantsPod(p) {
				t.see(ctx, p, o.request(known[p.UID]))
			}
		}
	})
	err := m.run(ctx)
	stop()
	t.running.Wait()
	return err
}

// runs tells whether the container instance is still running in its pod.
func runs(pods []*corev1.Pod, key instance) bool {
	for _, p := range pods {
		if p.UID != key.pod {
			continue
		}
		for _, cs := range containers(p) {
			if cs.Name == key.container {
				return cs.RestartCount == key.restart && cs.State.Running != nil
			}
		}
	}
	return false
}

// selector joins Services and Selector.
func (o LogOptions) selector() (string, error) {
	parsed, err := metav1.ParseToLabelSelector(o.Selector)
	if err != nil {
		return "", fmt.Errorf("selector %q: %w", o.Selector, err)
	}
	if len(o.Services) > 0 && len(o.Releases) == 0 { // else wantsPod chooses: a selector has no or
		parsed.MatchExpressions = append(parsed.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: nameLabel, Operator: metav1.LabelSelectorOpIn, Values: o.Services,
		})
	}
	if len(parsed.MatchLabels)+len(parsed.MatchExpressions) == 0 {
		return "", nil
	}
	return metav1.FormatLabelSelector(parsed), nil
}

// request is the template of the log requests. Tail and since are for the pods that were there at the start: of the
// later ones, every line is new.
func (o LogOptions) request(first bool) corev1.PodLogOptions {
	var r corev1.PodLogOptions
	if !first {
		return r
	}
	if o.Tail >= 0 {
		r.TailLines = &o.Tail
	}
	if o.Since > 0 {
		seconds := max(1, int64(o.Since.Round(time.Second)/time.Second))
		r.SinceSeconds = &seconds
	}
	return r
}

func (o LogOptions) wantsPod(p *corev1.Pod) bool {
	return len(o.Services)+len(o.Releases) == 0 || slices.Contains(o.Services, p.Labels[nameLabel]) || slices.Contains(o.Releases, p.Labels[InstanceLabel])
}

func (o LogOptions) wants(container string) bool {
	if slices.Contains(o.Except, container) {
		return false
	}
	return len(o.Containers) == 0 || slices.Contains(o.Containers, container)
}

func stamped(want bool, stamp time.Time, text string) string {
	if !want || stamp.IsZero() {
		return text
	}
	return strings.TrimRight(stamp.UTC().Format(time.RFC3339Nano)+" "+text, " ")
}
