package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
)

// Wish is what is asked of a cluster's networks, all IPv4. What is not set is chosen.
type Wish struct {
	Subnet      netip.Prefix // of which the cable takes four addresses, on the host
	PodCIDR     netip.Prefix // inside the sandbox only
	ServiceCIDR netip.Prefix // inside the sandbox only
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
func PlanFor(cluster string, w Wish, host []Route, mtu int) (Plan, error) {
	p := Plan{HostLink: linkName(cluster), Table: tablePrefix + cluster, MTU: mtu}
	host = slices.DeleteFunc(slices.Clone(host), func(r Route) bool { return r.Prefix.Bits() <= 0 }) // the default route
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
			if block, ok := firstFree(c, taken, blocks); ok {
				p.HostIP, p.NodeIP = netip.PrefixFrom(block.Addr().Next(), cableBits), netip.PrefixFrom(block.Addr().Next().Next(), cableBits)
				return p, nil
			}
		}
	}
	return p, noneFree(candidates, taken)
}

// cableBits is the mask of the cable's network: two addresses, and the two that every network needs.
const cableBits = 30

// firstFree is the first network of four addresses in a range that no route reaches into of those that blocks tells.
func firstFree(within netip.Prefix, taken []Route, blocks func(Route) bool) (netip.Prefix, bool) {
	for addr := within.Masked().Addr(); within.Contains(addr); {
		block := netip.PrefixFrom(addr, cableBits)
		at := slices.IndexFunc(taken, func(r Route) bool { return blocks(r) && r.Prefix.Overlaps(block) })
		if at < 0 {
			return block, true
		}
		next, ok := after(taken[at].Prefix, block)
		if !ok {
			break
		}
		addr = next
	}
	return netip.Prefix{}, false
}

// after is the first address behind both networks, which overlap.
func after(a, b netip.Prefix) (netip.Addr, bool) {
	if b.Bits() < a.Bits() {
		a = b
	}
	bytes := a.Masked().Addr().As4()
	n := uint64(bytes[0])<<24 | uint64(bytes[1])<<16 | uint64(bytes[2])<<8 | uint64(bytes[3])
	n += 1 << (32 - a.Bits())
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), n < 1<<32
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

// HostNetworks are the networks that the host is in or has a route to, whatever the table, and the MTU of its way out.
func HostNetworks() (networks []Route, mtu int, err error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, 0, fmt.Errorf("routes of this machine: %w", err)
	}
	names := map[int]string{}
	mtu = 1500
	for _, r := range routes {
		link, known := names[r.LinkIndex]
		if !known {
			if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				link = l.Attrs().Name
				if isDefault(r) {
					mtu = min(mtu, l.Attrs().MTU)
				}
			}
			names[r.LinkIndex] = link
		}
		if p := prefixOf(r.Dst); p.Bits() > 0 && r.Type != unix.RTN_BROADCAST && r.Type != unix.RTN_MULTICAST {
			ruled := r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_DEFAULT
			networks = append(networks, Route{Prefix: p, Link: link, Ruled: ruled})
		}
	}
	return networks, mtu, nil
}

func isDefault(r netlink.Route) bool { return r.Dst == nil || r.Dst.IP.IsUnspecified() }

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP.To4())
	if !ok {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, ones)
}
