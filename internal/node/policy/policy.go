// Package policy enforces NetworkPolicies on the pods of the one node, in its kernel.
//
// Decide is pure: pods, namespaces and policies give Rules, which say whose traffic is let through. The rules become one
// nft table, which is replaced in one transaction, and which the Controller keeps true. Packets between pods are routed
// (see package containerd), so they pass the forward hook; what pods send to the node itself passes the input hook.
//
// The package knows nothing of Services: kube-proxy has put a pod's address in the place of a Service's before the forward
// hook is reached. What the node itself sends to a pod, such as a probe or a published port's connection, is never its
// matter: the API lets the node reach its pods.
package policy

import (
	"net/netip"

	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Snapshot is all that the rules depend on.
type Snapshot struct {
	Pods       []Pod
	Namespaces map[string]labels.Set // labels by name
	Policies   []*networkingv1.NetworkPolicy
}

// Pod is what policies know of a pod.
type Pod struct {
	Namespace string
	Labels    labels.Set
	Addrs     []netip.Addr
	Ports     []NamedPort
	// OnNode is a part of the node that goes by the name of a pod, such as cluster DNS: policies may let pods reach it, and
	// none isolates it.
	OnNode bool
}

// NamedPort is a port of a pod that policies may call by its name.
type NamedPort struct {
	Name     string
	Protocol corev1.Protocol
	Number   uint16
}

// Rules say whose traffic is let through, sorted throughout: equal rules are equal data.
type Rules struct {
	// Enforced is set when there is any policy. Else nothing is checked, and all else is empty.
	Enforced bool
	// Pods are all pods that were known. Others of the pod network are kept apart until they are.
	Pods    []netip.Addr
	Ingress []Isolation // who may connect to pods
	Egress  []Isolation // whom pods may connect to
}

// Isolation is about pods that the same policies isolate in one direction: what no Allow lets through is refused.
type Isolation struct {
	Policies []string // NAMESPACE/NAME; all of one namespace
	Pods     []netip.Addr
	Allows   []Allow
}

// Allow lets traffic through that is both from or to one of the peers, and to one of the ports.
type Allow struct {
	Policy string // the one it stands in
	Peers  *Peers // nil: everybody
	Ports  *Ports // nil: every port of every protocol
}

// Peers are those of the pods and those of the blocks.
type Peers struct {
	Pods   []netip.Addr
	Blocks []netipx.IPRange // sorted and apart
}

// Ports are those of the ranges, and those that a pod has under a name.
type Ports struct {
	Ranges []PortRange
	Named  []Endpoint
}

// PortRange is ports of one protocol, both ends included.
type PortRange struct {
	Protocol    corev1.Protocol
	First, Last uint16
}

// Endpoint is a port of one address.
type Endpoint struct {
	Addr     netip.Addr
	Protocol corev1.Protocol
	Port     uint16
}

const lastPort = 65535
