package policy

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portsOf are the ports that a clause means; nil is every port. Names are looked up in the pods that are connected to. some
// is false when it is none: a name that no pod has.
func portsOf(list []networkingv1.NetworkPolicyPort, pods []Pod) (ports *Ports, some bool) {
	if len(list) == 0 {
		return nil, true
	}
	ports = &Ports{}
	for _, p := range list {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		switch {
		case p.Port == nil:
			ports.Ranges = append(ports.Ranges, PortRange{protocol, 0, lastPort})
		case p.Port.Type == intstr.String:
			ports.Named = append(ports.Named, called(p.Port.StrVal, protocol, pods)...)
		default:
			last := p.Port.IntVal
			if p.EndPort != nil {
				last = *p.EndPort
			}
			ports.Ranges = append(ports.Ranges, PortRange{protocol, uint16(p.Port.IntVal), uint16(last)}) //nolint:gosec // checked by the API server
		}
	}
	ports.Ranges = merged(ports.Ranges)
	slices.SortFunc(ports.Named, func(a, b Endpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	ports.Named = slices.Compact(ports.Named)
	return ports, len(ports.Ranges)+len(ports.Named) > 0
}

// include tells whether an endpoint has one of the ports.
func (p *Ports) include(e Endpoint) bool {
	return p == nil || slices.Contains(p.Named, e) || slices.ContainsFunc(p.Ranges, func(r PortRange) bool {
		return r.Protocol == e.Protocol && r.First <= e.Port && e.Port <= r.Last
	})
}

// called are the ports of the pods that have the name.
func called(name string, protocol corev1.Protocol, pods []Pod) []Endpoint {
	var all []Endpoint
	for _, pod := range pods {
		for _, port := range pod.Ports {
			if port.Name != name || port.Protocol != protocol {
				continue
			}
			for _, addr := range pod.Addrs {
				all = append(all, Endpoint{addr, protocol, port.Number})
			}
		}
	}
	return all
}

// merged sorts ranges and joins those that overlap or touch: nft refuses a set in which they do.
func merged(ranges []PortRange) []PortRange {
	slices.SortFunc(ranges, func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	var all []PortRange
	for _, r := range ranges {
		if n := len(all); n > 0 && all[n-1].Protocol == r.Protocol && int(r.First) <= int(all[n-1].Last)+1 {
			all[n-1].Last = max(all[n-1].Last, r.Last)
			continue
		}
		all = append(all, r)
	}
	return all
}
