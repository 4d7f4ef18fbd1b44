package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Decide gives the rules for what is there. A policy isolates the pods that it selects, and adds to what may be reached;
// the order of policies does not count. What cannot be read lets nothing through; the API server has refused it before.
func Decide(s Snapshot) Rules {
	if len(s.Policies) == 0 {
		return Rules{}
	}
	r := Rules{Enforced: true}
	for _, p := range s.Pods {
		if !p.OnNode {
			r.Pods = append(r.Pods, p.Addrs...)
		}
	}
	r.Pods = sorted(r.Pods)
	r.Ingress = s.isolations(networkingv1.PolicyTypeIngress)
	r.Egress = s.isolations(networkingv1.PolicyTypeEgress)
	return r
}

// clause is a rule of a policy in either direction.
type clause struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

// selection is a policy in one direction.
type selection struct {
	namespace string
	name      string // NAMESPACE/NAME
	pods      labels.Selector
	clauses   []clause
}

// isolations gathers pods by the policies that isolate them.
func (s Snapshot) isolations(direction networkingv1.PolicyType) []Isolation {
	policies := s.selections(direction)
	groups := map[string]*group{}
	for _, pod := range s.Pods {
		if pod.OnNode || len(pod.Addrs) == 0 {
			continue
		}
		var by []selection
		var names []string
		for _, p := range policies {
			if p.namespace == pod.Namespace && p.pods.Matches(pod.Labels) {
				by, names = append(by, p), append(names, p.name)
			}
		}
		if len(by) == 0 {
			continue
		}
		key := strings.Join(names, " ")
		if groups[key] == nil {
			groups[key] = &group{names: names, policies: by}
		}
		groups[key].pods = append(groups[key].pods, pod)
	}
	var all []Isolation
	for _, g := range groups {
		all = append(all, s.isolation(direction, g))
	}
	slices.SortFunc(all, func(a, b Isolation) int { return slices.Compare(a.Policies, b.Policies) })
	return all
}

// group is the pods that the same policies isolate.
type group struct {
	names    []string
	policies []selection
	pods     []Pod
}

func (s Snapshot) isolation(direction networkingv1.PolicyType, g *group) Isolation {
	i := Isolation{Policies: g.names}
	for _, p := range g.pods {
		i.Pods = append(i.Pods, p.Addrs...)
	}
	i.Pods = sorted(i.Pods)
	named := g.pods // whose ports a name means: those of the pods that are connected to
	if direction == networkingv1.PolicyTypeEgress {
		named = s.Pods
	}
	for _, p := range g.policies {
		for _, c := range p.clauses {
			ports, anything := portsOf(c.ports, named)
			if !anything {
				continue
			}
			if peers, anybody := s.peers(p.namespace, c.peers); anybody {
				i.Allows = append(i.Allows, Allow{Policy: p.name, Peers: peers, Ports: ports})
			}
			if parts := s.partsOfNode(p.namespace, c.peers, ports); len(parts) > 0 && direction == networkingv1.PolicyTypeEgress {
				i.Allows = append(i.Allows, Allow{Policy: p.name, Ports: &Ports{Named: parts}})
			}
		}
	}
	return i
}

// selections are the policies that speak of the direction, sorted by name.
func (s Snapshot) selections(direction networkingv1.PolicyType) []selection {
	var all []selection
	for _, p := range s.Policies {
		if !speaksOf(p, direction) {
			continue
		}
		pods, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			continue
		}
		one := selection{namespace: p.Namespace, name: p.Namespace + "/" + p.Name, pods: pods}
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range p.Spec.Ingress {
				one.clauses = append(one.clauses, clause{peers: r.From, ports: r.Ports})
			}
		} else {
			for _, r := range p.Spec.Egress {
				one.clauses = append(one.clauses, clause{peers: r.To, ports: r.Ports})
			}
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b selection) int { return cmp.Compare(a.name, b.name) })
	return all
}

// speaksOf tells whether a policy isolates in the direction. One that does not say is about ingress, and about egress if it
// has rules for it.
func speaksOf(p *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) > 0 {
		return slices.Contains(p.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
}

func sorted(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
