package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"
)

// family is one version of the IP protocol, in the words of nft.
type family struct {
	name  string // of the packet's header: ip, ip6
	short string // in names of sets
	addr  string // the type of an address
}

func families() []family {
	return []family{{"ip", "4", "ipv4_addr"}, {"ip6", "6", "ipv6_addr"}}
}

func (f family) has(a netip.Addr) bool { return a.Is4() == (f.short == "4") }

// write replaces the table by one that enforces the rules among pods of these networks, or takes it away when there is
// nothing to enforce. It is one transaction: no packet meets half of it.
//
//	forward ── egress-filter:  whom a pod may connect to ─> ingress-filter: who may connect to a pod
//	input   ── node-filter:    whom a pod may connect to, when it is the node
//
// Each asks a map for the chain of the pod's address. A chain ends with a verdict of its base chain alone, so that what
// leaves one pod rightly is still asked for by the other. Connections that are established are not asked again, and their
// answers pass.
func write(tx *knftables.Transaction, r Rules, podNets []netip.Prefix) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if !r.Enforced {
		return
	}
	tx.Add(&knftables.Table{})
	w := writer{tx: tx, made: map[string]bool{}}
	w.base("egress-filter", knftables.ForwardHook, knftables.FilterPriority)
	w.base("ingress-filter", knftables.ForwardHook, knftables.FilterPriority+"+1")
	w.base("node-filter", knftables.InputHook, knftables.FilterPriority)
	// How IPv6 finds the node's address on the wire, which is ARP's work in IPv4.
	w.rule("node-filter", "", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept")
	for _, f := range families() {
		w.dispatch(f, r)
		w.unknown(f, r.Pods, podNets)
	}
	w.isolations("egress", "daddr", r.Egress)
	w.isolations("ingress", "saddr", r.Ingress)
}

type writer struct {
	tx   *knftables.Transaction
	made map[string]bool // sets, by name
}

func (w writer) base(name string, hook knftables.BaseChainHook, priority knftables.BaseChainPriority) {
	w.tx.Add(&knftables.Chain{
		Name: name, Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(hook), Priority: knftables.PtrTo(priority),
	})
	w.rule(name, "", "ct state established,related accept")
}

// dispatch leads packets of isolated pods to their chains. A pod that connects to itself by a Service is let through first.
func (w writer) dispatch(f family, r Rules) {
	self := "self" + f.short
	w.tx.Add(&knftables.Set{Name: self, Type: f.addr + " . " + f.addr})
	for _, chain := range []string{"egress-filter", "ingress-filter"} {
		w.rule(chain, "", f.name, "saddr .", f.name, "daddr @"+self, "accept")
	}
	seen := map[netip.Addr]bool{}
	for _, d := range []struct {
		name       string
		isolations []Isolation
		filters    []string
		field      string
	}{
		{"egress", r.Egress, []string{"egress-filter", "node-filter"}, "saddr"},
		{"ingress", r.Ingress, []string{"ingress-filter"}, "daddr"},
	} {
		pods := d.name + f.short
		w.tx.Add(&knftables.Map{Name: pods, Type: f.addr + " : verdict"})
		for _, i := range d.isolations {
			w.tx.Add(&knftables.Chain{Name: chainOf(d.name, i)})
			for _, a := range i.Pods {
				if !f.has(a) {
					continue
				}
				w.tx.Add(&knftables.Element{Map: pods, Key: []string{a.String()}, Value: []string{"goto " + chainOf(d.name, i)}})
				if !seen[a] {
					w.tx.Add(&knftables.Element{Set: self, Key: []string{a.String(), a.String()}})
					seen[a] = true
				}
			}
		}
		for _, filter := range d.filters {
			w.rule(filter, "", f.name, d.field, "vmap @"+pods)
		}
	}
}

// unknown keeps pods apart that are so new that it is not known whose they are: the first packet is dropped, not refused,
// and comes again when they are known.
func (w writer) unknown(f family, known []netip.Addr, podNets []netip.Prefix) {
	set := "pods" + f.short
	w.tx.Add(&knftables.Set{Name: set, Type: f.addr})
	for _, a := range known {
		if f.has(a) {
			w.tx.Add(&knftables.Element{Set: set, Key: []string{a.String()}})
		}
	}
	for _, network := range podNets {
		if f.has(network.Addr()) {
			w.rule("egress-filter", "not known yet", f.name, "saddr", network.String(), f.name, "saddr != @"+set, "drop")
			w.rule("ingress-filter", "not known yet", f.name, "daddr", network.String(), f.name, "daddr != @"+set, "drop")
		}
	}
}

// isolations writes the chains of pods; peer is the field of a packet that has the other side's address.
func (w writer) isolations(direction, peer string, all []Isolation) {
	for _, i := range all {
		chain := chainOf(direction, i)
		for _, a := range i.Allows {
			for _, from := range w.peers(peer, a.Peers) {
				for _, to := range w.ports(a.Ports) {
					if from.family == "" || to.family == "" || from.family == to.family {
						w.rule(chain, a.Policy, from.text, to.text, "accept")
					}
				}
			}
		}
		// Refused, not dropped: who is not let in sees it at once and not after a timeout. Of TCP by a reset: the kernel sends
		// one for each try, and no connect misses it, while an ICMP error that comes at once is kept for the second try.
		comment := strings.Join(i.Policies, " ")
		w.rule(chain, comment, "meta l4proto tcp reject with tcp reset")
		w.rule(chain, comment, "reject with icmpx type admin-prohibited")
	}
}

// match is a part of a rule, and the one family that it is for, if any.
type match struct{ family, text string }

func (w writer) peers(field string, p *Peers) []match {
	if p == nil {
		return []match{{}}
	}
	var all []match
	for _, f := range families() {
		var pods, blocks []knftables.Element
		for _, a := range p.Pods {
			if f.has(a) {
				pods = append(pods, knftables.Element{Key: []string{a.String()}})
			}
		}
		for _, b := range p.Blocks {
			if f.has(b.From()) {
				blocks = append(blocks, knftables.Element{Key: []string{b.String()}})
			}
		}
		if len(pods) > 0 {
			all = append(all, match{f.name, f.name + " " + field + " @" + w.set("peers", f.addr, pods)})
		}
		if len(blocks) > 0 {
			all = append(all, match{f.name, f.name + " " + field + " @" + w.set("blocks", f.addr, blocks, knftables.IntervalFlag)})
		}
	}
	return all
}

func (w writer) ports(p *Ports) []match {
	if p == nil {
		return []match{{}}
	}
	var all []match
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		if text := ranges(protocol, p.Ranges); text != "" {
			all = append(all, match{text: text})
		}
	}
	for _, f := range families() {
		var named []knftables.Element
		for _, e := range p.Named {
			if f.has(e.Addr) {
				named = append(named, knftables.Element{Key: []string{e.Addr.String(), lower(e.Protocol), fmt.Sprint(e.Port)}})
			}
		}
		if len(named) > 0 {
			set := w.set("named", f.addr+" . inet_proto . inet_service", named)
			all = append(all, match{f.name, f.name + " daddr . meta l4proto . th dport @" + set})
		}
	}
	return all
}

// ranges matches the ports of one protocol.
func ranges(protocol corev1.Protocol, all []PortRange) string {
	var texts []string
	for _, r := range all {
		switch {
		case r.Protocol != protocol:
		case r.First == 0 && r.Last == lastPort:
			return "meta l4proto " + lower(protocol)
		case r.First == r.Last:
			texts = append(texts, fmt.Sprint(r.First))
		default:
			texts = append(texts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	if len(texts) == 0 {
		return ""
	}
	return lower(protocol) + " dport { " + strings.Join(texts, ", ") + " }"
}

func lower(p corev1.Protocol) string { return strings.ToLower(string(p)) }

// set makes a set with these elements, once, and returns its name, which tells its content.
func (w writer) set(kind, elementType string, elements []knftables.Element, flags ...knftables.SetFlag) string {
	var content []string
	for _, e := range elements {
		content = append(content, strings.Join(e.Key, " "))
	}
	name := kind + "-" + hash(elementType, strings.Join(content, ","))
	if w.made[name] {
		return name
	}
	w.made[name] = true
	w.tx.Add(&knftables.Set{Name: name, Type: elementType, Flags: flags})
	for _, e := range elements {
		e.Set = name
		w.tx.Add(&e)
	}
	return name
}

// chainOf is the name of an isolation's chain.
func chainOf(direction string, i Isolation) string {
	namespace, _, _ := strings.Cut(i.Policies[0], "/")
	return direction + "-" + hash(i.Policies...) + "-" + namespace
}

func hash(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	return hex.EncodeToString(sum[:4])
}

// rule adds a rule. Its comment says whose it is, to who reads `nft list table inet perch-policies`.
func (w writer) rule(chain, comment string, parts ...string) {
	r := &knftables.Rule{Chain: chain, Rule: strings.Join(strings.Fields(strings.Join(parts, " ")), " ")}
	if len(comment) > knftables.CommentLengthMax {
		comment = comment[:knftables.CommentLengthMax-3] + "..."
	}
	if comment != "" {
		r.Comment = &comment
	}
	w.tx.Add(r)
}
