package render

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/perch-k8s/perch/internal/compose"
)

// network is one network as NetworkPolicies know it: a label of the pods that are on it.
type network struct {
	label    string
	internal bool // no way out
	shared   bool // external: pods of other projects are on it too
}

// isolates tells whether networks keep anything apart: there is more than one, one has no way out, or a service has none.
func (b *builder) isolates() bool {
	used := map[string]bool{}
	apart := false
	look := func(c types.ContainerSpec) {
		apart = apart || c.NetworkMode == "none"
		for _, n := range b.networksOf(c) {
			used[n.label] = true
			apart = apart || n.internal
		}
	}
	for _, s := range b.services {
		look(s.ContainerSpec)
	}
	for _, j := range b.project.Jobs {
		look(j.ContainerSpec)
	}
	return apart || len(used) > 1
}

// networksOf are the networks of a container, sorted. One that says nothing is on the default network.
func (b *builder) networksOf(c types.ContainerSpec) []network {
	names := sortedKeys(c.Networks)
	switch {
	case c.NetworkMode != "" && c.NetworkMode != "bridge" && c.NetworkMode != "default":
		return nil
	case len(names) == 0:
		names = []string{"default"}
	}
	var all []network
	for _, name := range names {
		n := b.project.Project.Networks[name]
		label := name
		if n.External && n.Name != "" {
			label = n.Name // what the other projects know it by
		}
		all = append(all, network{label: networkLabel(label), internal: n.Internal, shared: bool(n.External)})
	}
	return all
}

func networkLabel(name string) string { return "perch.dev/network." + compose.NameWithin(name, 55) }

// networks are those of all containers of the pod.
func (w workload) networks() []network {
	var all []network
	for _, part := range w.parts() {
		for _, n := range w.networksOf(part.service.ContainerSpec) {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, func(a, b network) int { return strings.Compare(a.label, b.label) })
	return all
}

// networkLabels put a pod on networks.
func (b *builder) networkLabels(m *metav1.ObjectMeta, networks []network) {
	if m.Labels == nil {
		m.Labels = map[string]string{}
	}
	for _, n := range networks {
		m.Labels[n.label] = "true"
	}
}

// open are the ports that everybody may come to: those that are published, that hosts lead to and that have the metrics.
func (w workload) open() []networkingv1.NetworkPolicyPort {
	var all []networkingv1.NetworkPolicyPort
	add := func(port int32, proto corev1.Protocol) {
		if !slices.ContainsFunc(all, func(k networkingv1.NetworkPolicyPort) bool { return k.Port.IntVal == port && *k.Protocol == proto }) {
			target := intstr.FromInt32(port)
			all = append(all, networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &target})
		}
	}
	for _, p := range w.published() {
		add(p.Target, corev1.Protocol(p.Protocol))
	}
	for _, part := range w.parts() {
		for _, h := range part.extension.Host {
			if p, ok := part.hostPort(h); ok && !w.target.Embedded {
				add(p.port, p.protocol)
			}
		}
	}
	if p, ok := w.metricsPort(); ok {
		add(p.port, p.protocol)
	}
	return all
}

// policy lets in who is on a network of the service, and everybody on open ports. All of it may go out, unless each
// of its networks is internal.
func (w workload) policy() *networkingv1.NetworkPolicy {
	return networkPolicy(w.builder.meta(w.name, w.service.Name), w.selector(w.name), w.networks(), w.open())
}

// jobPolicy is the same for the pods of a job, which nobody connects to.
func (b *builder) jobPolicy(j types.JobConfig, job *batchv1.Job) *networkingv1.NetworkPolicy {
	meta := b.meta(compose.Name(j.Name), j.Name)
	meta.Labels[labelName] = job.Labels[labelName]
	selector := map[string]string{labelName: job.Labels[labelName], labelInstance: job.Labels[labelInstance]}
	return networkPolicy(meta, selector, b.networksOf(j.ContainerSpec), nil)
}

func networkPolicy(meta metav1.ObjectMeta, selector map[string]string, networks []network, published []networkingv1.NetworkPolicyPort) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: selector},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	var peers []networkingv1.NetworkPolicyPeer
	out := false
	for _, n := range networks {
		peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{n.label: "true"}}}
		if n.shared {
			peer.NamespaceSelector = &metav1.LabelSelector{}
		}
		peers = append(peers, peer)
		out = out || !n.internal
	}
	if len(peers) > 0 {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers})
	}
	if len(published) > 0 {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{Ports: published})
	}
	switch {
	case out:
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	case len(peers) > 0:
		dns, udp, tcp := intstr.FromInt32(53), corev1.ProtocolUDP, corev1.ProtocolTCP
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{
			{To: peers},
			{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &dns}, {Protocol: &tcp, Port: &dns}}},
		}
	}
	return p
}
