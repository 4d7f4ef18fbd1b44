package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// PodCIDR and ServiceCIDR exist inside the sandbox only: the host and other clusters may use the same.
const (
	PodCIDR     = "10.42.0.0/16"
	ServiceCIDR = "10.43.0.0/16"
	// RelayIP is where the host's DNS answers inside the sandbox. It is not a loopback address, since container
	// runtimes strip those from a container's resolv.conf.
	RelayIP = "169.254.20.53"
	// PolicyTable is the nft table inside the sandbox that NetworkPolicies become, of the family inet.
	PolicyTable = "perch-policies"

	sandboxLink = "eth0"
)

// Plan is how the sandbox is tied to the host.
type Plan struct {
	HostLink string       `json:"hostLink"` // at most 15 bytes
	Table    string       `json:"table"`    // nft table on the host
	HostIP   netip.Prefix `json:"hostIP"`   // the host's end of the cable, with its mask of 30 bits
	NodeIP   netip.Prefix `json:"nodeIP"`   // the sandbox's end
	MTU      int          `json:"mtu"`      // of the host's way out
}

// PlanFor chooses names and a free subnet for a cluster, given the subnets that the host knows.
func PlanFor(cluster string, taken []netip.Prefix, mtu int) (Plan, error) {
	p := Plan{HostLink: linkName(cluster), Table: "perch-" + cluster, MTU: mtu}
	for i := range 64 * 256 { // 10.89.0.0/16 in steps of four addresses
		base := netip.AddrFrom4([4]byte{10, 89, byte(i / 64), byte(i % 64 * 4)})
		net30 := netip.PrefixFrom(base, 30)
		if overlapsAny(net30, taken) {
			continue
		}
		p.HostIP = netip.PrefixFrom(base.Next(), 30)
		p.NodeIP = netip.PrefixFrom(base.Next().Next(), 30)
		return p, nil
	}
	return p, errors.New("no free subnet of 4 addresses in 10.89.0.0/16")
}

// linkName is a name that a Linux interface can have.
func linkName(cluster string) string {
	if name := "perch-" + cluster; len(name) <= 15 {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster))
	return fmt.Sprintf("perch-%08x", h.Sum32())
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Bits() > 0 && t.Overlaps(p) {
			return true
		}
	}
	return false
}

// HostNetworks are the subnets that the host has addresses in or routes to, and the MTU of its default route. A route
// wider than 16 bits (a VPN that claims 10.0.0.0/8) does not count: ours is more specific and wins.
func HostNetworks() (taken []netip.Prefix, mtu int, err error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, 0, fmt.Errorf("routes of this machine: %w", err)
	}
	mtu = 1500
	for _, r := range routes {
		if p := prefixOf(r.Dst); p.Bits() > 16 {
			taken = append(taken, p)
		}
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				mtu = min(mtu, link.Attrs().MTU)
			}
		}
	}
	return taken, mtu, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP.To4())
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, ones)
}

// Connect makes the cable between the host and the sandbox, and the host's table. What a killed run left of them is
// replaced.
func (p Plan) Connect(ctx context.Context, sandbox Namespace, pid int) error {
	if err := p.removeLink(); err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.HostLink, MTU: p.MTU}, PeerName: sandboxLink, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("virtual cable %s: %w", p.HostLink, err)
	}
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := setUp(host, p.HostLink, p.HostIP); err != nil {
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
		return nft(ctx, sandboxRules())
	})
}

func (p Plan) connectInside(h *netlink.Handle) error {
	relay := netip.PrefixFrom(netip.MustParseAddr(RelayIP), 32)
	if err := setUp(h, "lo", relay); err != nil {
		return err
	}
	if err := setUp(h, sandboxLink, p.NodeIP); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{Gw: p.HostIP.Addr().AsSlice()})
}

func setUp(h *netlink.Handle, name string, addr netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	ipnet := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), 32)}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipnet}); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("address %s on %s: %w", addr, name, err)
	}
	return h.LinkSetUp(link)
}

// hostRules let the sandbox out by the host's address, and nobody in.
func (p Plan) hostRules() string {
	return fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr %[3]s oifname != "%[2]s" masquerade
	}
	chain forward {
		type filter hook forward priority filter;
		oifname "%[2]s" ct state established,related accept
		oifname "%[2]s" drop
	}
}
`, p.Table, p.HostLink, p.NodeIP.Addr())
}

// sandboxRules give what pods send to the outside the node's address, the only one the host knows. And they keep pods apart
// until somebody replaces the table of policies: a pod of the last run may be started again before they are known.
func sandboxRules() string {
	return fmt.Sprintf(`table ip perch {
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
`, PodCIDR, sandboxLink, PolicyTable)
}

// Disconnect removes the cable and the table. It works when they are not there.
func (p Plan) Disconnect(ctx context.Context) error {
	rules := fmt.Sprintf("table ip %[1]s\ndelete table ip %[1]s\n", p.Table)
	return errors.Join(p.removeLink(), nft(ctx, rules))
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

// nft runs the nft program in the calling thread's network namespace: it is what kube-proxy uses, so it is there.
func nft(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft -f -: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// forwardFile is the switch that lets this machine pass packets on; Linux has it off until something needs it.
const forwardFile = "/proc/sys/net/ipv4/ip_forward"

// strictFile makes the kernel drop what comes from an address that is not behind the cable it comes by: a pod can make packets
// (Docker and Kubernetes let it have raw sockets), but not in the name of another pod, or past what its policies forbid.
const strictFile = "/proc/sys/net/ipv4/conf/all/rp_filter"

// forwardingMark is there as long as forwarding is on because a node switched it on. It is the machine's and not one
// node's: the last node to leave switches it off, whichever came first.
const forwardingMark = "/run/perch-forwarding"

// EnableForwarding lets the host pass packets on. The caller holds the lock that nodes share.
func EnableForwarding() error {
	now, err := os.ReadFile(forwardFile)
	if err != nil || strings.TrimSpace(string(now)) == "1" {
		return err
	}
	// The mark comes first: who is killed in between leaves a mark too many, which does no harm.
	if err := os.WriteFile(forwardingMark, nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0o644)
}

// RestoreForwarding undoes EnableForwarding. The caller holds the lock that nodes share, and no other node runs.
func RestoreForwarding() error {
	_, err := os.Stat(forwardingMark)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(forwardFile, []byte("0"), 0o644); err != nil {
		return err
	}
	return os.Remove(forwardingMark)
}
