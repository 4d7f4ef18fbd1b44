package policy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// snapshot is what the informers and the runtime know now.
func (c *Controller) snapshot() Snapshot {
	s := Snapshot{}
	for _, o := range c.policies.GetStore().List() {
		s.Policies = append(s.Policies, o.(*networkingv1.NetworkPolicy))
	}
	if len(s.Policies) == 0 {
		return s // all else does not count
	}
	s.Pods, s.Namespaces = append(s.Pods, c.Parts...), map[string]labels.Set{}
	for _, o := range c.namespaces.GetStore().List() {
		n := o.(*corev1.Namespace)
		s.Namespaces[n.Name] = n.Labels
	}
	for _, o := range c.pods.GetStore().List() {
		p := o.(*corev1.Pod)
		if counts(p) {
			s.Pods = append(s.Pods, podOf(p, c.learned.of(p.UID)))
		}
	}
	return s
}

// counts tells whether a pod has addresses of its own. One that has ended gave them back, though its status still tells them;
// one in the node's network is the node.
func counts(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// podOf is the pod with the addresses that the runtime told, which is earlier than they are in its status.
func podOf(p *corev1.Pod, learned []netip.Addr) Pod {
	pod := Pod{Namespace: p.Namespace, Labels: p.Labels, Addrs: learned}
	if len(learned) == 0 {
		pod.Addrs = statusAddrs(p)
	}
	containers := p.Spec.Containers
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways { // a sidecar
			containers = append(containers[:len(containers):len(containers)], c)
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.Name != "" {
				pod.Ports = append(pod.Ports, NamedPort{port.Name, port.Protocol, uint16(port.ContainerPort)}) //nolint:gosec // checked by the API server
			}
		}
	}
	return pod
}

func statusAddrs(p *corev1.Pod) []netip.Addr {
	var all []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// samePod tells whether an update changes nothing that policies know of a pod. Ports and the network are never changed.
func samePod(a, b *corev1.Pod) bool {
	return labels.Equals(a.Labels, b.Labels) && counts(a) == counts(b) && slices.Equal(statusAddrs(a), statusAddrs(b))
}
