package policy

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// peers are whom a clause of a policy in the namespace means; nil is everybody. some is false when it is nobody.
func (s Snapshot) peers(namespace string, list []networkingv1.NetworkPolicyPeer) (peers *Peers, some bool) {
	if len(list) == 0 {
		return nil, true
	}
	peers = &Peers{}
	var blocks netipx.IPSetBuilder
	for _, p := range list {
		if p.IPBlock != nil {
			if set, err := addresses(p.IPBlock); err == nil {
				blocks.AddSet(set)
			}
			continue
		}
		for _, pod := range s.selected(namespace, p) {
			if !pod.OnNode {
				peers.Pods = append(peers.Pods, pod.Addrs...)
			}
		}
	}
	peers.Pods = sorted(peers.Pods)
	if set, err := blocks.IPSet(); err == nil {
		peers.Blocks = set.Ranges()
	}
	return peers, len(peers.Pods)+len(peers.Blocks) > 0
}

// partsOfNode are the ports of those parts of the node that the peers' selectors mean. Only these are opened: the rest of the
// node has the same address.
func (s Snapshot) partsOfNode(namespace string, list []networkingv1.NetworkPolicyPeer, ports *Ports) []Endpoint {
	var all []Endpoint
	for _, p := range list {
		if p.IPBlock != nil {
			continue
		}
		for _, pod := range s.selected(namespace, p) {
			for _, port := range pod.Ports {
				for _, addr := range pod.Addrs {
					e := Endpoint{addr, port.Protocol, port.Number}
					if pod.OnNode && ports.include(e) && !slices.Contains(all, e) {
						all = append(all, e)
					}
				}
			}
		}
	}
	return all
}

// selected are the pods that a peer's selectors mean. Without a selector of namespaces it is the policy's own
// namespace, without one of pods all pods.
func (s Snapshot) selected(namespace string, peer networkingv1.NetworkPolicyPeer) []Pod {
	pods, err := selectorOr(peer.PodSelector, labels.Everything())
	if err != nil {
		return nil
	}
	namespaces, err := selectorOr(peer.NamespaceSelector, nil)
	if err != nil {
		return nil
	}
	var all []Pod
	for _, p := range s.Pods {
		here := p.Namespace == namespace
		if namespaces != nil {
			set, known := s.Namespaces[p.Namespace]
			here = known && namespaces.Matches(set)
		}
		if here && pods.Matches(p.Labels) {
			all = append(all, p)
		}
	}
	return all
}

func selectorOr(s *metav1.LabelSelector, otherwise labels.Selector) (labels.Selector, error) {
	if s == nil {
		return otherwise, nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// addresses are those of a block without its exceptions.
func addresses(b *networkingv1.IPBlock) (*netipx.IPSet, error) {
	var set netipx.IPSetBuilder
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil, err
	}
	set.AddPrefix(whole.Masked())
	for _, except := range b.Except {
		part, err := netip.ParsePrefix(except)
		if err != nil {
			return nil, err
		}
		set.RemovePrefix(part.Masked())
	}
	return set.IPSet()
}
