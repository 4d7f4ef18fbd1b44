package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
)

// Wish is what is asked of a cluster's networks. What is not set is chosen.
type Wish struct {
	Subnet      netip.Prefix // IPv4; of which the cable takes four addresses, on the host
	PodCIDR     netip.Prefix // IPv4; inside the sandbox only
	ServiceCIDR netip.Prefix // IPv4; inside the sandbox only
	Made        bool         // the cluster was made before: its networks are those of here
	IPv6        Second       // its networks for pods and Services, when it was made
}

// Host is what the machine has.
type Host struct {
	Networks []Route // that it is in or has a route to, of both families and whatever the table
	MTU      int     // of its way out
	IPv6     IPv6
}

// Route is a network that the host knows a way to, or is in.
type Route struct {
	Prefix netip.Prefix
	Link   string // the interface; "" for one that leads nowhere
	// Ruled is of a table that only rules lead to, as VPNs make them: it may come before a narrower route.
	Ruled bool
}

// String is as `ip route` has it.
func (r Route) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s dev %s", r.Prefix, r.Link), " dev ")
}

// subnets are where the cable's addresses are looked for, in this order. A place within a wider network that is routed
// elsewhere is taken when there is no better: ours is the narrower route, and wins.
func subnets() []netip.Prefix {
	return prefixes("10.89.0.0/16", "172.30.240.0/20", "192.168.240.0/20", "198.18.240.0/20")
}

// inner are the pairs of networks for pods and Services. The last is for measurements (RFC 2544): nobody routes it.
func inner() [][]netip.Prefix {
	return [][]netip.Prefix{
		prefixes(PodCIDR, ServiceCIDR), prefixes("10.142.0.0/16", "10.143.0.0/16"),
		prefixes("172.28.0.0/16", "172.29.0.0/16"), prefixes("198.18.0.0/17", "198.18.128.0/18"),
	}
}

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// narrow is the mask from which on a route of the host's main table keeps the cable out of its network.
const narrow = 17

// PlanFor chooses names and networks for a cluster, given what the host has a way to. A wish that cannot be fulfilled is
// an error of kind fault.Usage.
func PlanFor(cluster string, w Wish, h Host) (Plan, error) {
	h.Networks = slices.DeleteFunc(slices.Clone(h.Networks), func(r Route) bool { return r.Prefix.Bits() <= 0 }) // the default route
	p := Plan{HostLink: linkName(cluster), Table: tablePrefix + cluster, MTU: h.MTU, IPv6: w.second(h)}
	host := h.Networks
	if err := w.check(host); err != nil {
		return p, err
	}
	p.PodCIDR, p.ServiceCIDR = w.chooseInner(host)
	taken := append(slices.Clone(host), Route{Prefix: p.PodCIDR, Link: "pods", Ruled: true}, Route{Prefix: p.ServiceCIDR, Link: "Services", Ruled: true})
	candidates := subnets()
	if w.Subnet.IsValid() {
		candidates = []netip.Prefix{w.Subnet}
	}
	// The first that nothing reaches into; else the first that only wide networks do.
	for _, blocks := range []func(Route) bool{
		func(Route) bool { return true },
		func(r Route) bool { return r.Ruled || r.Prefix.Bits() >= narrow },
	} {
		for _, c := range candidates {
			if block, ok := firstFree(c, cableBits, taken, blocks); ok {
				p.HostIP, p.NodeIP = netip.PrefixFrom(block.Addr().Next(), cableBits), netip.PrefixFrom(block.Addr().Next().Next(), cableBits)
				return p, nil
			}
		}
	}
	return p, noneFree(candidates, taken)
}

// cableBits is the mask of the cable's network: two addresses, and the two that every network needs.
const cableBits = 30

// firstFree is the first network with a mask of so many bits in a range that no route reaches into of those that blocks tells.
func firstFree(within netip.Prefix, bits int, taken []Route, blocks func(Route) bool) (netip.Prefix, bool) {
	for addr := within.Masked().Addr(); within.Contains(addr); {
		block := netip.PrefixFrom(addr, bits)
		at := slices.IndexFunc(taken, func(r Route) bool { return blocks(r) && r.Prefix.Overlaps(block) })
		if at < 0 {
			return block, true
		}
		addr = after(taken[at].Prefix, block)
	}
	return netip.Prefix{}, false
}

// after is the first address behind both networks, which overlap; not valid behind the last of all.
func after(a, b netip.Prefix) netip.Addr {
	if b.Bits() < a.Bits() {
		a = b
	}
	return netipx.PrefixLastIP(a).Next()
}

func noneFree(candidates []netip.Prefix, taken []Route) error {
	var texts, holders []string
	for _, c := range candidates {
		texts = append(texts, c.String())
		for _, r := range taken {
			if r.Prefix.Overlaps(c) && !slices.Contains(holders, r.String()) {
				holders = append(holders, r.String())
			}
		}
	}
	const most = 4 // routes that a message names
	if len(holders) > most {
		holders = append(holders[:most], "…")
	}
	return fault.New(fault.Usage, "choose one that is free: perch cluster start --subnet NETWORK/24; ip route shows what is taken",
		"no 4 addresses are free in %s: this machine has %s", strings.Join(texts, ", "), strings.Join(holders, ", "))
}

// chooseInner are the networks for pods and Services: the first pair that the host has no way to, since pods would not
// find the way there. When it has one to all of them, the first pair it is.
func (w Wish) chooseInner(host []Route) (pods, services netip.Prefix) {
	free := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(host, func(r Route) bool { return r.Prefix.Overlaps(p) })
	}
	fits := func(p netip.Prefix) bool {
		return !slices.ContainsFunc([]netip.Prefix{w.Subnet, w.PodCIDR, w.ServiceCIDR}, func(o netip.Prefix) bool { return o.IsValid() && o.Overlaps(p) })
	}
	pick := func(wish netip.Prefix, at int) netip.Prefix {
		if wish.IsValid() {
			return wish.Masked()
		}
		first := netip.Prefix{}
		for _, pair := range inner() {
			if fits(pair[at]) && free(pair[at]) {
				return pair[at]
			}
			if fits(pair[at]) && !first.IsValid() {
				first = pair[at]
			}
		}
		return first
	}
	return pick(w.PodCIDR, 0), pick(w.ServiceCIDR, 1)
}

// check refuses wishes that are none, that meet each other, or that a network of the host is inside of.
func (w Wish) check(host []Route) error {
	named := []struct {
		flag         string
		prefix       netip.Prefix
		widest, tail int // masks
	}{{"--subnet", w.Subnet, 8, cableBits}, {"--pod-cidr", w.PodCIDR, 8, 24}, {"--service-cidr", w.ServiceCIDR, 12, 24}}
	for i, n := range named {
		if !n.prefix.IsValid() {
			continue
		}
		a := n.prefix.Addr()
		if !a.Is4() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || n.prefix.Bits() < n.widest || n.prefix.Bits() > n.tail {
			return fault.New(fault.Usage, "as "+n.flag+" 172.30.0.0/"+fmt.Sprint(max(16, n.widest)),
				"%s %s: it must be an IPv4 network with a mask of %d to %d bits", n.flag, n.prefix, n.widest, n.tail)
		}
		for _, other := range named[:i] {
			if other.prefix.IsValid() && other.prefix.Overlaps(n.prefix) {
				return fault.New(fault.Usage, "choose networks that have no address in common", "%s %s and %s %s overlap", other.flag, other.prefix, n.flag, n.prefix)
			}
		}
		if i == 0 { // of its subnet a cluster needs only four addresses
			continue
		}
		for _, r := range host {
			if r.Prefix.Overlaps(n.prefix) && r.Prefix.Bits() >= n.prefix.Bits() {
				return fault.New(fault.Usage, "choose another; ip route shows what is taken", "%s %s: this machine has %s in it, which pods could not reach", n.flag, n.prefix, r)
			}
		}
	}
	return nil
}

// Hidden are the networks of the host that pods cannot reach, because the sandbox has the same addresses for pods or Services.
func (p Plan) Hidden(host []Route) []Route {
	var hidden []Route
	for _, r := range host {
		if r.Prefix.Bits() > 0 && (r.Prefix.Overlaps(p.PodCIDR) || r.Prefix.Overlaps(p.ServiceCIDR)) && !slices.Contains(hidden, r) {
			hidden = append(hidden, r)
		}
	}
	return hidden
}

// WayTo is the interface by which the host sends to the node: its own cable, unless rules of a VPN say otherwise.
func (p Plan) WayTo() (link string, err error) {
	routes, err := netlink.RouteGet(p.NodeIP.Addr().AsSlice())
	if err != nil || len(routes) == 0 {
		return "", fmt.Errorf("way to %s: %w", p.NodeIP.Addr(), err)
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", err
	}
	return l.Attrs().Name, nil
}

// HostNetworks looks at the machine.
func HostNetworks() (Host, error) {
	h := Host{MTU: 1500}
	var routes []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		found, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil && family == netlink.FAMILY_V4 {
			return h, fmt.Errorf("routes of this machine: %w", err)
		}
		routes = append(routes, found...) // a kernel without IPv6 has none of its
	}
	links := map[int]netlink.LinkAttrs{}
	for _, r := range routes {
		link, known := links[r.LinkIndex]
		if !known {
			if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				link = *l.Attrs()
			}
			links[r.LinkIndex] = link
		}
		if isDefault(r) && link.MTU > 0 && link.Flags&net.FlagLoopback == 0 {
			h.MTU = min(h.MTU, link.MTU)
		}
		if p := prefixOf(r.Dst); p.Bits() > 0 && r.Type != unix.RTN_BROADCAST && r.Type != unix.RTN_MULTICAST {
			ruled := r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_DEFAULT
			h.Networks = append(h.Networks, Route{Prefix: p, Link: link.Name, Ruled: ruled})
		}
	}
	if h.MTU >= leastMTU6 {
		h.IPv6 = machineIPv6(routes)
	}
	return h, nil
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	p, ok := netipx.FromStdIPNet(n)
	if !ok {
		return netip.Prefix{}
	}
	return p
}
