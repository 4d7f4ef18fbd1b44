package network

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestPlanForSecondFamily(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	whole := IPv6{Kernel: true, On: true}
	kept := Second{PodCIDR: p("fd01::/64"), ServiceCIDR: p("fd02::/112"), NodeIP: p("fd03::2/126"), HostIP: p("fd03::1/126")}
	pods, services, cable := p("fd4c:9a1e:e2f1:42::/64"), p("fd4c:9a1e:e2f1:43::/112"), p("fd4c:9a1e:e2f1:89::2/126")
	for name, test := range map[string]struct {
		wish Wish
		host Host
		want Second
	}{
		"a kernel without":           {Wish{}, Host{}, Second{}},
		"it is switched off":         {Wish{}, Host{IPv6: IPv6{Kernel: true}}, Second{}},
		"inside only":                {Wish{}, Host{IPv6: whole}, Second{PodCIDR: pods, ServiceCIDR: services, NodeIP: cable}},
		"to the outside":             {Wish{}, Host{IPv6: IPv6{true, true, true}}, Second{pods, services, cable, p("fd4c:9a1e:e2f1:89::1/126")}},
		"beside another cluster":     {Wish{}, Host{Networks: routes("fd4c:9a1e:e2f1:89::/126 perch-a"), IPv6: IPv6{true, true, true}}, Second{pods, services, p("fd4c:9a1e:e2f1:89::6/126"), p("fd4c:9a1e:e2f1:89::5/126")}},
		"the pods' network is taken": {Wish{}, Host{Networks: routes("fd4c:9a1e:e2f1:42::/60 tun0"), IPv6: whole}, Second{PodCIDR: p("fd77:3b0d:86c4:42::/64"), ServiceCIDR: p("fd77:3b0d:86c4:43::/112"), NodeIP: p("fd77:3b0d:86c4:89::2/126")}},
		"a VPN has them all":         {Wish{}, Host{Networks: routes("fc00::/7 tun0"), IPv6: IPv6{true, true, true}}, Second{PodCIDR: pods, ServiceCIDR: services, NodeIP: cable}},
		"one that was made without":  {Wish{Made: true}, Host{IPv6: whole}, Second{}},
		"one that was made with it":  {Wish{Made: true, IPv6: kept}, Host{IPv6: whole}, Second{PodCIDR: kept.PodCIDR, ServiceCIDR: kept.ServiceCIDR, NodeIP: cable}},
		"switched off since":         {Wish{Made: true, IPv6: kept}, Host{IPv6: IPv6{Kernel: true}}, Second{PodCIDR: kept.PodCIDR, ServiceCIDR: kept.ServiceCIDR, NodeIP: cable}},
		"another kernel since":       {Wish{Made: true, IPv6: kept}, Host{}, Second{PodCIDR: kept.PodCIDR, ServiceCIDR: kept.ServiceCIDR}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := PlanFor("perch", test.wish, test.host)
			if diff := cmp.Diff(test.want, got.IPv6, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestJudgeIPv6(t *testing.T) {
	t.Parallel()
	way := netlink.Route{Family: netlink.FAMILY_V6, Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN}
	none, four, ruled := way, way, way
	none.Type, four.Family, ruled.Table = unix.RTN_UNREACHABLE, netlink.FAMILY_V4, 51820
	for _, test := range []struct {
		disabled, forwarding string
		routes               []netlink.Route
		want                 IPv6
	}{
		{"0", "1", []netlink.Route{way}, IPv6{true, true, true}},
		{"0", "0", []netlink.Route{way}, IPv6{true, true, false}},
		{"0", "1", []netlink.Route{none, four, ruled}, IPv6{true, true, false}},
		{"1", "1", []netlink.Route{way}, IPv6{true, false, false}},
	} {
		if got := judgeIPv6(test.disabled, test.forwarding, test.routes); got != test.want {
			t.Errorf("%+v: %+v", test, got)
		}
	}
}

// inNamespace is set where a test runs in namespaces of its own.
const inNamespace = "PERCH_TEST_IN_NAMESPACE"

// TestMachineIPv6 switches IPv6 of a machine on and off. It runs itself again as root of a user namespace with a network of its
// own: it needs no root and touches nothing of the machine.
func TestMachineIPv6(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		testMachineIPv6(t)
		return
	}
	if _, err := os.Stat(disableFile6); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMachineIPv6$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("this machine has no user namespaces for us: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func testMachineIPv6(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(want IPv6) {
		t.Helper()
		if h, err := HostNetworks(); err != nil || h.IPv6 != want {
			t.Errorf("%+v, %v, want %+v", h.IPv6, err, want)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "card"}, PeerName: "far"}))
	handle, err := netlink.NewHandle()
	must(err)
	defer handle.Close()
	must(setUp(handle, "far"))
	must(setUp(handle, "card", netip.MustParsePrefix("fd99::1/64")))
	want(IPv6{Kernel: true, On: true})
	gateway := netip.MustParseAddr("fd99::2")
	must(netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}))
	want(IPv6{Kernel: true, On: true}) // it passes nothing on
	must(enable6())
	want(IPv6{Kernel: true, On: true, Out: true})
	must(os.WriteFile(disableFile6, []byte("1"), 0o600))
	want(IPv6{Kernel: true})
}
