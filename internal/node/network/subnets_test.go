package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/perch-k8s/perch/internal/fault"
)

// routes reads "10.0.0.0/8 tun0" and "10.0.0.0/8 tun0 ruled".
func routes(texts ...string) []Route {
	var all []Route
	for _, text := range texts {
		f := strings.Fields(text)
		all = append(all, Route{Prefix: netip.MustParsePrefix(f[0]), Link: f[1], Ruled: len(f) > 2})
	}
	return all
}

// The routes of machines, as they were seen.
var (
	laptop = routes("0.0.0.0/0 wlan0", "192.168.1.0/24 wlan0", "192.168.1.17/32 wlan0", "127.0.0.0/8 lo")
	docker = append(routes("172.17.0.0/16 docker0", "172.18.0.0/16 br-1", "172.30.0.0/16 br-2"), laptop...)
	podman = append(routes("10.88.0.0/16 podman0", "10.89.0.0/24 podman1"), laptop...)
	vpn    = append(routes("10.0.0.0/8 tun0", "10.8.0.2/32 tun0"), laptop...)
	// A VPN that puts its routes into a table of its own, which a rule asks before the main one.
	ruledVPN = append(routes("10.0.0.0/8 wg0 ruled", "0.0.0.0/0 wg0 ruled"), laptop...)
	every    = append(routes("10.0.0.0/8 tun0", "172.16.0.0/12 tun0", "192.168.0.0/16 tun0", "198.18.0.0/15 tun0"), laptop...)
)

func TestPlanForChoosesWhatIsFree(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		host                 []Route
		node, pods, services string
	}{
		"nothing taken":               {nil, "10.89.0.2/30", "10.42.0.0/16", "10.43.0.0/16"},
		"laptop":                      {laptop, "10.89.0.2/30", "10.42.0.0/16", "10.43.0.0/16"},
		"Docker":                      {docker, "10.89.0.2/30", "10.42.0.0/16", "10.43.0.0/16"},
		"Podman":                      {podman, "10.89.1.2/30", "10.42.0.0/16", "10.43.0.0/16"},
		"another cluster":             {routes("10.89.0.0/30 perch-a"), "10.89.0.6/30", "10.42.0.0/16", "10.43.0.0/16"},
		"a VPN with 10.0.0.0/8":       {vpn, "172.30.240.2/30", "172.28.0.0/16", "172.29.0.0/16"},
		"one with a table of rules":   {ruledVPN, "172.30.240.2/30", "172.28.0.0/16", "172.29.0.0/16"},
		"all is routed, by wide ones": {every, "10.89.0.2/30", "10.42.0.0/16", "10.43.0.0/16"},
		"only pods' is taken":         {routes("10.42.7.0/24 eth1"), "10.89.0.2/30", "10.142.0.0/16", "10.43.0.0/16"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := PlanFor("perch", Wish{}, Host{Networks: test.host, MTU: 1400})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.NodeIP.String(); got != test.node || p.HostIP.Addr().Next() != p.NodeIP.Addr() {
				t.Errorf("node %s, host %s, want %s", got, p.HostIP, test.node)
			}
			if p.PodCIDR.String() != test.pods || p.ServiceCIDR.String() != test.services {
				t.Errorf("pods %s, services %s, want %s and %s", p.PodCIDR, p.ServiceCIDR, test.pods, test.services)
			}
		})
	}
}

// A VPN that comes up under a running node must not be in the way at the next start either: the pods' networks are kept.
func TestPlanForKeepsWhatIsWished(t *testing.T) {
	t.Parallel()
	kept := Wish{PodCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16")}
	p, err := PlanFor("perch", kept, Host{Networks: vpn, MTU: 1400})
	if err != nil || p.PodCIDR != kept.PodCIDR || p.ServiceCIDR != kept.ServiceCIDR || p.NodeIP.String() != "172.30.240.2/30" {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = PlanFor("perch", Wish{Subnet: netip.MustParsePrefix("172.16.8.0/24"), PodCIDR: netip.MustParsePrefix("10.50.3.0/16")}, Host{Networks: vpn, MTU: 1400})
	if err != nil || p.NodeIP.String() != "172.16.8.2/30" || p.PodCIDR.String() != "10.50.0.0/16" || p.ServiceCIDR.String() != "172.29.0.0/16" {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = PlanFor("perch", Wish{Subnet: netip.MustParsePrefix("10.42.0.0/24")}, Host{MTU: 1400})
	if err != nil || p.NodeIP.String() != "10.42.0.2/30" || p.PodCIDR.String() != "10.142.0.0/16" {
		t.Errorf("pods are in the cable's subnet: %+v, %v", p, err)
	}
}

func TestPlanForRefuses(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	tests := map[string]struct {
		wish Wish
		host []Route
		says string
	}{
		"a subnet that is taken":           {Wish{Subnet: prefix("172.30.240.0/24")}, append(routes("172.30.240.0/24 br-9"), laptop...), "172.30.240.0/24 dev br-9"},
		"a subnet that a VPN's rules have": {Wish{Subnet: prefix("10.9.0.0/24")}, ruledVPN, "10.0.0.0/8 dev wg0"},
		"a subnet of IPv6":                 {Wish{Subnet: prefix("fd00::/64")}, nil, "--subnet fd00::/64: it must be an IPv4 network"},
		"a subnet that is too small":       {Wish{Subnet: prefix("10.1.1.0/31")}, nil, "mask of 8 to 30 bits"},
		"loopback":                         {Wish{PodCIDR: prefix("127.0.0.0/16")}, nil, "--pod-cidr 127.0.0.0/16"},
		"too few pods":                     {Wish{PodCIDR: prefix("10.1.1.0/25")}, nil, "mask of 8 to 24 bits"},
		"too many Services":                {Wish{ServiceCIDR: prefix("10.0.0.0/8")}, nil, "mask of 12 to 24 bits"},
		"both the same":                    {Wish{PodCIDR: prefix("10.1.0.0/16"), ServiceCIDR: prefix("10.1.2.0/24")}, nil, "--pod-cidr 10.1.0.0/16 and --service-cidr 10.1.2.0/24 overlap"},
		"pods where the host's network is": {Wish{PodCIDR: prefix("192.168.0.0/16")}, laptop, "192.168.1.0/24 dev wlan0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := PlanFor("perch", test.wish, Host{Networks: test.host, MTU: 1500})
			if err == nil || !strings.Contains(err.Error(), test.says) || fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
				t.Errorf("kind %v, hint %q: %v", fault.KindOf(err), fault.HintOf(err), err)
			}
		})
	}
}

func TestNeedsForwarding(t *testing.T) {
	t.Parallel()
	own := []netlink.Link{&netlink.Device{}, &netlink.Veth{}, &netlink.Wireguard{}}
	if needsForwarding(own) {
		t.Error("for cables, cards and a VPN's client")
	}
	if !needsForwarding(append(own, &netlink.Bridge{})) {
		t.Error("not for a bridge with guests of others")
	}
}
