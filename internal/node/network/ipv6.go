package network

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// IPv6 is what a machine has of it.
type IPv6 struct {
	Kernel bool // a network namespace can have it, whatever the machine's own has
	On     bool // and it is not switched off here
	Out    bool // and the machine passes its packets on, and knows a way for them
}

// Second is what a cluster has of IPv6, beside IPv4.
type Second struct {
	PodCIDR     netip.Prefix `json:"podCIDR,omitzero"`     // as ServiceCIDR kept with the cluster; not valid: it was made without IPv6
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitzero"` // inside the sandbox
	NodeIP      netip.Prefix `json:"nodeIP,omitzero"`      // the sandbox's end of the cable; not valid: without IPv6 this time
	HostIP      netip.Prefix `json:"hostIP,omitzero"`      // the host's end; not valid: it leads nowhere
}

// On tells whether pods have IPv6.
func (s Second) On() bool { return s.NodeIP.IsValid() }

// Out tells whether they reach the outside by it.
func (s Second) Out() bool { return s.HostIP.IsValid() }

const (
	cableBits6     = 126  // four addresses, as with IPv4
	leastMTU6      = 1280 // an interface with less cannot have IPv6
	disableFile6   = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
	forwardFile6   = "/proc/sys/net/ipv6/conf/all/forwarding"
	acceptDADFile6 = "/proc/sys/net/ipv6/conf/default/accept_dad"
)

// inner6 are the networks for pods, for Services and for cables, all of a unique local prefix (RFC 4193) that was drawn by lot.
// The second is for the odd machine that has a way to the first.
func inner6() [][]netip.Prefix {
	return [][]netip.Prefix{
		prefixes("fd4c:9a1e:e2f1:42::/64", "fd4c:9a1e:e2f1:43::/112", "fd4c:9a1e:e2f1:89::/64"),
		prefixes("fd77:3b0d:86c4:42::/64", "fd77:3b0d:86c4:43::/112", "fd77:3b0d:86c4:89::/64"),
	}
}

// second is what the cluster has of IPv6 on that machine. One that was made without stays without, since its Services have
// addresses of one family; one that was made with it keeps its networks, also while the kernel has it not.
func (w Wish) second(h Host) Second {
	s := Second{PodCIDR: w.IPv6.PodCIDR, ServiceCIDR: w.IPv6.ServiceCIDR}
	nets := freeInner6(h.Networks)
	if !w.Made && h.IPv6.On {
		s.PodCIDR, s.ServiceCIDR = nets[0], nets[1]
	}
	if !s.PodCIDR.IsValid() || !h.IPv6.Kernel {
		return s
	}
	block, ok := firstFree(nets[2], cableBits6, h.Networks, func(Route) bool { return true })
	if !ok {
		block = netip.PrefixFrom(nets[2].Addr(), cableBits6) // it is a route of the sandbox only
	}
	s.NodeIP = netip.PrefixFrom(block.Addr().Next().Next(), cableBits6)
	if h.IPv6.Out && ok {
		s.HostIP = netip.PrefixFrom(block.Addr().Next(), cableBits6)
	}
	return s
}

// freeInner6 is the first set of networks that the host has no way to, or the first.
func freeInner6(host []Route) []netip.Prefix {
	for _, nets := range inner6() {
		if !slices.ContainsFunc(host, func(r Route) bool { return r.Prefix.Overlaps(nets[0]) || r.Prefix.Overlaps(nets[1]) }) {
			return nets
		}
	}
	return inner6()[0]
}

// machineIPv6 is what the machine, that of the calling thread, has of IPv6. Node and pods never make it pass packets on: it
// would forget the way out that a router told it (see docs/decisions/0031).
func machineIPv6(routes []netlink.Route) IPv6 {
	disabled, err := os.ReadFile(disableFile6)
	if err != nil {
		return IPv6{}
	}
	forwarding, _ := os.ReadFile(forwardFile6)
	return judgeIPv6(strings.TrimSpace(string(disabled)), strings.TrimSpace(string(forwarding)), routes)
}

// judgeIPv6 takes the two switches as they read, and the routes of the machine.
func judgeIPv6(disabled, forwarding string, routes []netlink.Route) IPv6 {
	out := slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.Family == netlink.FAMILY_V6 && isDefault(r) && r.Type == unix.RTN_UNICAST && r.Table == unix.RT_TABLE_MAIN
	})
	on := disabled == "0"
	return IPv6{Kernel: true, On: on, Out: on && out && forwarding == "1"}
}

// enable6 gives the network namespace of the calling thread IPv6, whose routes it follows for others. What is connected to it
// is made by us: nobody waits for a second to see whether somebody else has an address.
func enable6() error {
	for _, s := range []struct{ file, value string }{{disableFile6, "0"}, {acceptDADFile6, "0"}, {forwardFile6, "1"}} {
		if err := os.WriteFile(s.file, []byte(s.value), 0o644); err != nil {
			return err
		}
	}
	return nil
}
