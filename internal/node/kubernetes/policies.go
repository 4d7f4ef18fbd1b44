package kubernetes

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/perch-k8s/perch/internal/node/policy"
)

// policies is the configuration of what enforces NetworkPolicies. Cluster DNS stands on the node; who lets pods out to it writes
// the labels of its pods, which it has in every cluster.
func (c Config) policies() policy.Options {
	const dnsPort = 53
	o := policy.Options{Table: c.PolicyTable, Runtime: c.ContainerdSocket}
	for _, f := range c.Families {
		o.PodNets = append(o.PodNets, f.PodCIDR)
	}
	o.Parts = append(o.Parts, policy.Pod{
		Namespace: metav1.NamespaceSystem, Labels: labels.Set{"k8s-app": "kube-dns"}, Addrs: []netip.Addr{c.Families[0].NodeIP}, OnNode: true,
		Ports: []policy.NamedPort{{Name: "dns", Protocol: corev1.ProtocolUDP, Number: dnsPort}, {Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Number: dnsPort}},
	})
	return o
}
