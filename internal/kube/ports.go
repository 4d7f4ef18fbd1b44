package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PublishedPort is a port of a container that answers outside of the cluster.
type PublishedPort struct {
	Service   string `json:"service"`        // in whose pods it is, by its name in the Compose file
	Container string `json:"container"`      // that listens
	Private   int32  `json:"private"`        // of the container
	Protocol  string `json:"protocol"`       // tcp, udp or sctp
	Host      string `json:"host,omitempty"` // address or name; "" when the cluster has not given one yet
	Published int32  `json:"published"`
}

// PublishedPorts are the ports of the LoadBalancer Services of a namespace ("" is the client's) that match a label selector,
// sorted by service and port.
func (c *Client) PublishedPorts(ctx context.Context, namespace, selector string) ([]PublishedPort, error) {
	namespace = orElse(namespace, c.Namespace)
	options := metav1.ListOptions{LabelSelector: selector}
	services, err := c.Interface.CoreV1().Services(namespace).List(ctx, options)
	if err != nil {
		return nil, c.Explain(fmt.Errorf("services in namespace %s: %w", namespace, err))
	}
	pods, err := c.Interface.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, c.Explain(fmt.Errorf("pods in namespace %s: %w", namespace, err))
	}
	all := []PublishedPort{}
	for i := range services.Items {
		if s := &services.Items[i]; s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			all = append(all, portsOf(s, pods.Items)...)
		}
	}
	slices.SortFunc(all, func(a, b PublishedPort) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Private, b.Private), cmp.Compare(a.Published, b.Published),
			cmp.Compare(a.Protocol, b.Protocol))
	})
	return all, nil
}

func portsOf(s *corev1.Service, pods []corev1.Pod) []PublishedPort {
	host := ""
	if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
		host = orElse(in[0].IP, in[0].Hostname)
	}
	var all []PublishedPort
	for _, port := range s.Spec.Ports {
		p := PublishedPort{
			Service: s.Annotations[ServiceAnnotation], Host: host, Published: port.Port,
			Protocol: strings.ToLower(string(port.Protocol)), Private: port.TargetPort.IntVal,
		}
		for i := range pods {
			if selects(s, &pods[i]) && p.Container == "" {
				p.Container, p.Private = listener(&pods[i], port)
			}
		}
		all = append(all, p)
	}
	return all
}

func selects(s *corev1.Service, p *corev1.Pod) bool {
	for name, value := range s.Spec.Selector {
		if p.Labels[name] != value {
			return false
		}
	}
	return len(s.Spec.Selector) > 0
}

// listener is the container that a Service's port leads to, and its port there.
func listener(p *corev1.Pod, port corev1.ServicePort) (container string, number int32) {
	for _, c := range p.Spec.Containers {
		for _, own := range c.Ports {
			named := port.TargetPort.Type == intstr.String && own.Name == port.TargetPort.StrVal
			if (named || own.ContainerPort == port.TargetPort.IntVal) && orElse(string(own.Protocol), "TCP") == string(port.Protocol) {
				return c.Name, own.ContainerPort
			}
		}
	}
	return "", port.TargetPort.IntVal
}
