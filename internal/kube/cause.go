package kube

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// missingObject is what the kubelet, the scheduler and the controllers say of an object that a pod names and nobody made.
var missingObject = regexp.MustCompile(`(secret|configmap|persistentvolumeclaim) "([^"]+)" not found`)

// nobodyListens is what the kubelet says of a probe whose connection was refused, with the port.
var nobodyListens = regexp.MustCompile(`probe failed: .*dial tcp \S*:(\d+): connect: connection refused`)

// unschedulable is why no node takes a pod, from the scheduler's message.
func unschedulable(message string) trouble {
	t := trouble{key: "schedule", grace: graceSchedule, cause: CauseUnschedulable}
	if m := missingObject.FindString(message); m != "" {
		t.cause, t.text = CauseMount, m
		return t
	}
	reason, _, _ := strings.Cut(message, " preemption: ") // which never helps where it did not happen
	t.text = "no node takes it: " + strings.TrimSuffix(reason, ".")
	return t
}

// startError is what a runtime says of a program that it could not start, without the names of its own parts.
func startError(message string) string {
	for _, before := range []string{"unable to start container process: ", "error during container init: "} {
		if _, after, found := strings.Cut(message, before); found {
			message = after
		}
	}
	return message
}

// with adds to a trouble what the events of its pod, oldest first, say about it: that a probe ended the container, or else
// the last warning. Troubles of other causes have their event's words as their text.
func (t trouble) with(events []corev1.Event) trouble {
	switch t.cause {
	default:
		return t
	case CauseMemory:
	case CauseCrash, CauseEnded:
		if probe := killer(events, t.container); probe != "" {
			t.cause = CauseCrash
			t.text = fmt.Sprintf("container %s is restarted again and again: %s", t.container, probe)
			return t
		}
	}
	for _, e := range slices.Backward(events) {
		if e.Type != corev1.EventTypeWarning {
			continue
		}
		message, _, _ := strings.Cut(strings.TrimSpace(e.Message), " in pod ") // then come the pod's name and UID
		t.event = e.Reason + ": " + lowerFirst(message)
		return t
	}
	return t
}

// killer is what the probe said for which the kubelet restarts a container, "" when it was not a probe.
func killer(events []corev1.Event, container string) string {
	of := fmt.Sprintf("{%s}", container)
	for _, probe := range []string{"Liveness", "Startup"} {
		killed := slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.Reason == "Killing" && strings.HasSuffix(e.InvolvedObject.FieldPath, of) &&
				strings.Contains(e.Message, "failed "+strings.ToLower(probe)+" probe")
		})
		if !killed {
			continue
		}
		for _, e := range slices.Backward(events) {
			if strings.HasSuffix(e.InvolvedObject.FieldPath, of) && strings.HasPrefix(e.Message, probe+" probe failed") {
				return lowerFirst(strings.TrimSpace(e.Message))
			}
		}
		return strings.ToLower(probe) + " probe failed"
	}
	return ""
}

// eventsOf are the events about a pod, oldest first; none when they cannot be had.
func (c *Client) eventsOf(ctx context.Context, namespace, pod string) []corev1.Event {
	list, err := c.Interface.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return eventTime(&a).Compare(eventTime(&b)) })
	return list.Items
}

// hintFor is the next command, or what to change, for a cause.
func (w *wait) hintFor(t trouble) string {
	describe := fmt.Sprintf("perch kubectl describe pod -n %s %s", w.namespace, t.pod)
	if m := missingObject.FindStringSubmatch(t.text); m != nil {
		return w.makeHint(m[1], m[2])
	}
	switch t.cause {
	case CauseImage:
		return "is the name right? perch image list shows what the node has"
	case CauseUnschedulable:
		if strings.Contains(t.text, "Insufficient") {
			return "lower deploy.resources.reservations, or see what is taken: perch kubectl describe nodes"
		}
		return describe
	case CauseConfig:
		if strings.Contains(t.text, "could not be started") {
			return "look at the service's command: and entrypoint:, or see " + describe
		}
		return describe
	case CauseMount, CauseSandbox:
		return describe
	case CauseMemory:
		return "raise deploy.resources.limits.memory, or see " + w.hint
	case CauseRefused:
		return w.refusedHint(t.text)
	case CauseEnded:
		return `if it is meant to end, give the service restart: "no"; else see ` + w.hint
	default:
		return w.hint
	}
}

// noteHint is what to do about a workload of which nothing is wrong but that it does not become ready.
func (w *wait) noteHint(note string) string {
	if m := nobodyListens.FindStringSubmatch(note); m != nil {
		return fmt.Sprintf("does it listen on port %s, on all addresses and not on 127.0.0.1 alone? If nothing is meant to: "+
			"healthcheck: {disable: true}; else see %s", m[1], w.hint)
	}
	return w.hint
}

// makeHint is how to make an object that a pod names.
func (w *wait) makeHint(kind, name string) string {
	switch kind {
	case "secret":
		return fmt.Sprintf("make it: perch kubectl create secret generic %[2]s -n %[1]s --from-file=%[2]s=FILE", w.namespace, name)
	case "configmap":
		return fmt.Sprintf("make it: perch kubectl create configmap %[2]s -n %[1]s --from-file=%[2]s=FILE", w.namespace, name)
	default:
		return fmt.Sprintf("make it before, or take external: away; those there are: perch kubectl get persistentvolumeclaims -n %s", w.namespace)
	}
}

// refusedHint is what to do about pods that admission does not let in.
func (w *wait) refusedHint(text string) string {
	switch {
	case strings.Contains(text, "violates PodSecurity"):
		return "give the service what it asks for (user:, cap_drop: [ALL], security_opt: [no-new-privileges:true]), or see the rule: " +
			"perch kubectl get namespace " + w.namespace + " --show-labels"
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "failed quota"), strings.Contains(text, "per Container"), strings.Contains(text, "per Pod"):
		return fmt.Sprintf("perch kubectl describe resourcequota,limitrange -n %s", w.namespace)
	default:
		return fmt.Sprintf("perch kubectl events -n %s --types=Warning", w.namespace)
	}
}
