package kube

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
)

// Pod is one line of `perch ps`.
type Pod struct {
	Service  string    `json:"service"` // the service's name in the Compose file; "" for a pod that is not Perch's
	Name     string    `json:"name"`
	Image    string    `json:"image"`    // of the first container
	State    string    `json:"state"`    // as kubectl's STATUS: "Running", "CrashLoopBackOff", "Completed", …
	Ready    int       `json:"ready"`    // containers
	Total    int       `json:"total"`    // containers
	Restarts int       `json:"restarts"` // of all containers
	Created  time.Time `json:"created"`
	Node     string    `json:"node"`
	IP       string    `json:"ip"`
	Ports    []string  `json:"ports"` // container ports, as "4000/tcp"
	Reason   string    `json:"reason,omitempty"`
}

// Pods lists the pods of a namespace ("" is the client's) that match a label selector ("" is all), sorted by service
// and name.
func (c *Client) Pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	namespace = orElse(namespace, c.Namespace)
	list, err := c.Interface.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("pods in namespace %s: %w", namespace, err))
	}
	pods := make([]Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, podLine(&list.Items[i]))
	}
	sort.SliceStable(pods, func(i, j int) bool {
		if pods[i].Service != pods[j].Service {
			return pods[i].Service < pods[j].Service
		}
		return pods[i].Name < pods[j].Name
	})
	return pods, nil
}

func podLine(p *corev1.Pod) Pod {
	line := Pod{
		Service: orElse(p.Annotations[ServiceAnnotation], p.Labels[nameLabel]),
		Name:    p.Name,
		Created: p.CreationTimestamp.Time,
		Node:    p.Spec.NodeName,
		IP:      p.Status.PodIP,
		Total:   len(p.Spec.Containers),
	}
	line.State, line.Reason = podState(p)
	for i, container := range p.Spec.Containers {
		if i == 0 {
			line.Image = container.Image
		}
		for _, port := range container.Ports {
			line.Ports = append(line.Ports, portText(port))
		}
	}
	for _, cs := range p.Status.ContainerStatuses {
		line.Restarts += int(cs.RestartCount)
		if cs.Ready {
			line.Ready++
		}
	}
	return line
}

func portText(p corev1.ContainerPort) string {
	protocol := "tcp"
	switch p.Protocol {
	case corev1.ProtocolUDP:
		protocol = "udp"
	case corev1.ProtocolSCTP:
		protocol = "sctp"
	}
	return fmt.Sprintf("%d/%s", p.ContainerPort, protocol)
}

// podState is the word that says most about a pod, and its message.
func podState(p *corev1.Pod) (state, reason string) {
	if p.DeletionTimestamp != nil {
		return "Terminating", ""
	}
	for _, cs := range containers(p) {
		if w := cs.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" {
			return w.Reason, w.Message
		}
		if t := cs.State.Terminated; t != nil && (t.ExitCode != 0 || !succeededInit(p, cs)) {
			return orElse(t.Reason, "Terminated"), ended(t)
		}
	}
	if p.Status.Reason != "" {
		return p.Status.Reason, p.Status.Message
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return orElse(c.Reason, "Pending"), c.Message
		}
	}
	return string(p.Status.Phase), ""
}

// RunningPod is the pod of a service in which a command is best executed: ready before merely running, then the
// oldest. index counts from 1 over the service's pods in order of name; 0 is any.
func (c *Client) RunningPod(ctx context.Context, namespace, selector, service string, index int) (*corev1.Pod, error) {
	namespace = orElse(namespace, c.Namespace)
	list, err := c.Interface.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("pods in namespace %s: %w", namespace, err))
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil
	})
	if len(pods) == 0 {
		return nil, fault.New(fault.Other, "start it: perch up "+service, "service %s: no running pod", service)
	}
	if index > 0 {
		sort.Slice(pods, func(i, j int) bool { return pods[i].Name < pods[j].Name })
		if index > len(pods) {
			return nil, fault.New(fault.Other, "see them: perch ps", "service %s: has %d running pods, not %d", service, len(pods), index)
		}
		return &pods[index-1], nil
	}
	sort.SliceStable(pods, func(i, j int) bool {
		if a, b := podReady(&pods[i]), podReady(&pods[j]); a != b {
			return a
		}
		return pods[i].CreationTimestamp.Before(&pods[j].CreationTimestamp)
	})
	return &pods[0], nil
}

// Instances lets the pods of a project through, and those of releases that are somebody else's charts.
func Instances(namespace string, releases ...string) string {
	if len(releases) == 0 {
		return Selector(namespace, "")
	}
	return InstanceLabel + " in (" + strings.Join(append([]string{namespace}, releases...), ",") + ")"
}

// Selector lets the pods of a project through, and of one service (its Kubernetes name) when it is named.
func Selector(namespace, service string) string {
	s := InstanceLabel + "=" + namespace
	if service != "" {
		s += "," + nameLabel + "=" + service
	}
	return s
}
