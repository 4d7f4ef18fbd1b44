package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// PodCIDR and ServiceCIDR are the networks inside the sandbox that are chosen where nothing speaks against them. The host
// and other clusters may use the same.
const (
	PodCIDR     = "10.42.0.0/16"
	ServiceCIDR = "10.43.0.0/16"
	// RelayIP is where the host's DNS answers inside the sandbox. It is not a loopback address, since container
	// runtimes strip those from a container's resolv.conf.
	RelayIP = "169.254.20.53"
	// PolicyTable is the nft table inside the sandbox that NetworkPolicies become, of the family inet.
	PolicyTable = "perch-policies"

	sandboxLink = "eth0"
	tablePrefix = "perch-" // and the cluster's name
	linkPrefix  = "perch-"
)

// Plan is how the sandbox is tied to the host.
type Plan struct {
	HostLink    string       `json:"hostLink"` // at most 15 bytes
	Table       string       `json:"table"`    // nft table on the host
	HostIP      netip.Prefix `json:"hostIP"`   // the host's end of the cable, with its mask of 30 bits
	NodeIP      netip.Prefix `json:"nodeIP"`   // the sandbox's end
	MTU         int          `json:"mtu"`      // of the host's way out
	PodCIDR     netip.Prefix `json:"podCIDR"`  // inside the sandbox
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	IPv6        Second       `json:"ipv6,omitzero"`
}

// linkName is a name that a Linux interface can have.
func linkName(cluster string) string {
	if name := linkPrefix + cluster; len(name) <= 15 {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster))
	return fmt.Sprintf("%s%08x", linkPrefix, h.Sum32())
}

// Connect makes the cable between the host and the sandbox, and the host's table. What a killed run left of them is
// replaced.
func (p Plan) Connect(ctx context.Context, sandbox Namespace, pid int) error {
	if err := p.removeLink(); err != nil {
		return err
	}
	if p.IPv6.On() {
		if err := sandbox.Do(enable6); err != nil { // before there is an interface that would begin without
			return fmt.Errorf("IPv6 in the sandbox: %w", err)
		}
	}
	attrs := netlink.LinkAttrs{Name: p.HostLink, MTU: p.MTU, HardwareAddr: p.hardwareAddr()}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: sandboxLink, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("virtual cable %s: %w", p.HostLink, err)
	}
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := setUp(host, p.HostLink, p.HostIP, p.IPv6.HostIP); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(sandbox.handle)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := p.connectInside(inside); err != nil {
		return err
	}
	if err := nft(ctx, p.hostRules()); err != nil {
		return err
	}
	return sandbox.Do(func() error {
		// /proc/sys/net shows the network namespace of the thread that opens it.
		if err := os.WriteFile(forwardFile, []byte("1"), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(strictFile, []byte("1"), 0o644); err != nil {
			return err
		}
		return nft(ctx, p.sandboxRules())
	})
}

// hardwareAddr is that of the host's end. One that the kernel chose would be replaced by udev a moment later, when the
// sandbox may have learnt it already.
func (p Plan) hardwareAddr() net.HardwareAddr {
	ip := p.HostIP.Addr().As4()
	return net.HardwareAddr{0x02, 0x42, ip[0], ip[1], ip[2], ip[3]} // 02: administered locally
}

func (p Plan) connectInside(h *netlink.Handle) error {
	relay := netip.PrefixFrom(netip.MustParseAddr(RelayIP), 32)
	if err := setUp(h, "lo", relay); err != nil {
		return err
	}
	if err := setUp(h, sandboxLink, p.NodeIP, p.IPv6.NodeIP); err != nil {
		return err
	}
	if p.IPv6.Out() {
		if err := h.RouteAdd(&netlink.Route{Gw: p.IPv6.HostIP.Addr().AsSlice()}); err != nil {
			return err
		}
	}
	return h.RouteAdd(&netlink.Route{Gw: p.HostIP.Addr().AsSlice()})
}

// setUp gives an interface those of the addresses that are valid. Nobody else can have them: the kernel need not ask around.
func setUp(h *netlink.Handle, name string, addrs ...netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	for _, addr := range addrs {
		if !addr.IsValid() {
			continue
		}
		a := &netlink.Addr{IPNet: netipx.PrefixIPNet(addr)}
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, a); err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("address %s on %s: %w", addr, name, err)
		}
	}
	return h.LinkSetUp(link)
}

// hostRules let the sandbox out by the host's address, and nobody in. The table is of the family ip, or of inet when it is for
// IPv6 as well; what a killed run left may have been of the other.
func (p Plan) hostRules() string {
	family, also := "ip", ""
	if p.IPv6.Out() {
		family, also = "inet", fmt.Sprintf(`ip6 saddr %s oifname != "%s" masquerade`, p.IPv6.NodeIP.Addr(), p.HostLink)
	}
	return p.noHostRules() + fmt.Sprintf(`table %[4]s %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr %[3]s oifname != "%[2]s" masquerade
		%[5]s
	}
	chain forward {
		type filter hook forward priority filter;
		oifname "%[2]s" ct state established,related accept
		oifname "%[2]s" drop
	}
}
`, p.Table, p.HostLink, p.NodeIP.Addr(), family, also)
}

// noHostRules takes the host's table away, whether it is there or not.
func (p Plan) noHostRules() string {
	var rules strings.Builder
	for _, family := range tableFamilies() {
		fmt.Fprintf(&rules, "table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", family, p.Table)
	}
	return rules.String()
}

// tableFamilies are those that a node's table on the host may be of.
func tableFamilies() []string { return []string{"ip", "inet"} }

// sandboxRules give what pods send to the outside the node's address, the only one the host knows. And they keep pods apart
// until somebody replaces the table of policies: a pod of the last run may be started again before they are known.
func (p Plan) sandboxRules() string {
	rules := fmt.Sprintf(`table ip perch {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr %[1]s oifname "%[2]s" masquerade
	}
}
table inet %[3]s {
	chain closed {
		type filter hook forward priority filter;
		ip saddr %[1]s drop
		ip daddr %[1]s drop
	}
}
`, p.PodCIDR, sandboxLink, PolicyTable)
	if p.IPv6.On() {
		rules += p.sandboxRules6()
	}
	return rules
}

// sandboxRules6 are the same for IPv6, and what strictFile does for IPv4.
func (p Plan) sandboxRules6() string {
	return fmt.Sprintf(`table ip6 perch {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip6 saddr %[1]s oifname "%[2]s" masquerade
	}
	chain strict {
		type filter hook prerouting priority raw;
		iifname != { "lo", "%[2]s" } fib saddr . iif oif missing drop
	}
}
table inet %[3]s {
	chain closed {
		ip6 saddr %[1]s drop
		ip6 daddr %[1]s drop
	}
}
`, p.IPv6.PodCIDR, sandboxLink, PolicyTable)
}

// OpenDoors lets the cable through the firewalls of this machine that have a place for that. Connect comes before.
func (p Plan) OpenDoors(ctx context.Context) error {
	if err := p.openDoors(ctx); err != nil {
		return fmt.Errorf("a rule for %s in the firewall of this machine: %w", p.HostLink, err)
	}
	return nil
}

// Disconnect removes the cable, the table and the rules in firewalls. It works when they are not there.
func (p Plan) Disconnect(ctx context.Context) error {
	return errors.Join(p.removeLink(), nft(ctx, p.noHostRules()), closeDoors(ctx, p.HostLink))
}

func (p Plan) removeLink() error {
	link, err := netlink.LinkByName(p.HostLink)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// strictFile makes the kernel drop what comes from an address that is not behind the cable it comes by: a pod can make packets
// (Docker and Kubernetes let it have raw sockets), but not in the name of another pod, or past what its policies forbid.
const strictFile = "/proc/sys/net/ipv4/conf/all/rp_filter"
