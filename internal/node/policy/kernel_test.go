package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"
)

// inNamespace is set where the test runs in namespaces of its own.
const inNamespace = "PERCH_TEST_IN_NAMESPACE"

// TestKernel sends packets between network namespaces that are tied together as the node's pods are, under the tables of
// the golden files. It runs itself again as root of a user namespace: it needs no root and touches nothing of the machine.
func TestKernel(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		testKernel(t)
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestKernel$", "-test.v")
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
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "SKIP") {
		t.Skip(string(out))
	}
}

func testKernel(t *testing.T) {
	r := newRouter(t)
	for path, a := range goldens(t) {
		t.Run(path, func(t *testing.T) {
			rules := Decide(snapshot(t, section(a, "policies.yaml")))
			r.apply(t, rules)
			for _, version := range []string{"4", "6"} {
				got := reach(r.all(version))
				if diff := cmp.Diff(section(a, "reach.txt"), got); diff != "" {
					t.Errorf("IPv%s, -want +got:\n%s", version, diff)
				}
			}
		})
	}
	t.Run("who is not known yet", func(t *testing.T) { testUnknown(t, r) })
	t.Run("what is established goes on", func(t *testing.T) { testEstablished(t, r) })
	t.Run("a refusal is seen at once", func(t *testing.T) { testRefusal(t, r) })
}

const denyAll = `
metadata: {namespace: one, name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`

// A pod whose address is not in the snapshot is kept apart from other pods and from the outside, not from the node.
func testUnknown(t *testing.T, r router) {
	s := snapshot(t, denyAll)
	pods := podPlaces()
	unknown, other := pods[3], pods[2]
	s.Pods = append(s.Pods[:3:3], s.Pods[4:]...)
	r.apply(t, Decide(s))
	for _, tt := range []struct {
		from place
		to   netip.Addr
		open bool
	}{
		{unknown, other.v4, false},
		{unknown, worldPlace().v4, false},
		{unknown, nodePlace().v4, true},
		{other, unknown.v4, false},
		{worldPlace(), unknown.v4, false},
		{nodePlace(), unknown.v4, true},
		{other, worldPlace().v4, true},
	} {
		if err := r.send(tt.from, tt.to, services()[0]); (err == nil) != tt.open {
			t.Errorf("from %s to %s: %v", tt.from.name, tt.to, err)
		}
	}
}

// A connection from before a policy lives on, and a new one is refused.
func testEstablished(t *testing.T, r router) {
	r.apply(t, Rules{})
	pods := podPlaces()
	conn := r.connect(t, pods[2], pods[0].v4)
	r.apply(t, Decide(snapshot(t, denyAll)))
	if err := echoes(conn); err != nil {
		t.Errorf("the connection: %v", err)
	}
	if err := r.send(pods[2], pods[0].v4, services()[0]); err == nil {
		t.Error("a new one is let in")
	}
}

func testRefusal(t *testing.T, r router) {
	r.apply(t, Decide(snapshot(t, denyAll)))
	pods := podPlaces()
	for _, s := range services() {
		want := syscall.ECONNREFUSED
		if s.protocol == corev1.ProtocolUDP {
			want = syscall.EHOSTUNREACH
		}
		if err := r.send(pods[2], pods[0].v4, s); !errors.Is(err, want) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// router is the node of the test, in the namespace that the test itself runs in; places are namespaces beside it.
type router struct {
	home   netns.NsHandle
	places map[string]netns.NsHandle
	nft    knftables.Interface
}

func newRouter(t *testing.T) router {
	t.Helper()
	runtime.LockOSThread() // for good: the thread of a test in other namespaces must not serve others
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	r := router{home: home, places: map[string]netns.NsHandle{"node": home}}
	lo := link(t, "lo")
	for _, a := range []netip.Addr{nodePlace().v4, nodePlace().v6} {
		address(t, lo, a)
	}
	must(t, netlink.LinkSetUp(lo))
	for i, p := range append(podPlaces(), worldPlace()) {
		r.places[p.name] = r.join(t, fmt.Sprintf("veth%d", i), p)
	}
	for file, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
		"ipv4/icmp_ratelimit": "0", // refusals are waited for, and the kernel would send few to one address
	} {
		must(t, os.WriteFile("/proc/sys/net/"+file, []byte(value), 0o600))
	}
	for _, p := range append(podPlaces(), worldPlace(), nodePlace()) {
		r.in(t, p.name, func() { serve(t, p) })
	}
	// As on the node, where kube-proxy and the way out need it: from now on connections are tracked.
	nat := exec.CommandContext(t.Context(), "nft", "add table inet nat; add chain inet nat out { type nat hook postrouting priority srcnat; }; "+
		`add rule inet nat out oifname "nowhere" masquerade`)
	if out, err := nat.CombinedOutput(); err != nil {
		t.Skipf("SKIP: nft in a user namespace: %v: %s", err, out)
	}
	if r.nft, err = knftables.New(knftables.InetFamily, "perch-policies"); err != nil {
		t.Fatal(err)
	}
	return r
}

// join makes a namespace with a cable and routes, as the ptp plugin does for a pod.
func (r router) join(t *testing.T, name string, p place) netns.NsHandle {
	t.Helper()
	inside, err := netns.New()
	must(t, err)
	must(t, netns.Set(r.home))
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(inside)}))
	here := link(t, name)
	gateways := []netip.Addr{netip.MustParseAddr("10.42.0.1"), netip.MustParseAddr("fd00:42::1")}
	for _, g := range gateways {
		address(t, here, g)
	}
	must(t, netlink.LinkSetUp(here))
	for _, a := range []netip.Addr{p.v4, p.v6} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: here.Attrs().Index, Dst: netlink.NewIPNet(a.AsSlice())}))
	}
	r.places[p.name] = inside
	r.in(t, p.name, func() {
		must(t, netlink.LinkSetUp(link(t, "lo")))
		eth := link(t, "eth0")
		address(t, eth, p.v4)
		address(t, eth, p.v6)
		must(t, netlink.LinkSetUp(eth))
		for _, g := range gateways {
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: netlink.NewIPNet(g.AsSlice()), Scope: netlink.SCOPE_LINK}))
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: g.AsSlice()}))
		}
	})
	return inside
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

// address has no detection of duplicates: it would take a second.
func address(t *testing.T, l netlink.Link, a netip.Addr) {
	t.Helper()
	must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice()), Flags: syscall.IFA_F_NODAD}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// in calls f in a place. Sockets stay where they are made.
func (r router) in(t *testing.T, name string, f func()) {
	t.Helper()
	must(t, netns.Set(r.places[name]))
	f()
	must(t, netns.Set(r.home))
}

func (r router) apply(t *testing.T, rules Rules) {
	t.Helper()
	tx := r.nft.NewTransaction()
	write(tx, rules, podNets())
	must(t, r.nft.Run(t.Context(), tx))
}

// serve echoes on every service of a place.
func serve(t *testing.T, p place) {
	t.Helper()
	for _, a := range []netip.Addr{p.v4, p.v6} {
		for _, s := range services() {
			listen(t, netip.AddrPortFrom(a, s.port).String(), s.protocol)
		}
	}
}

func listen(t *testing.T, address string, protocol corev1.Protocol) {
	t.Helper()
	if protocol == corev1.ProtocolUDP {
		c, err := net.ListenPacket("udp", address)
		must(t, err)
		go func() {
			buffer := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(buffer[:n], from)
			}
		}()
		return
	}
	l, err := net.Listen("tcp", address)
	must(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buffer := make([]byte, 100)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					_, _ = c.Write(buffer[:n])
				}
			}()
		}
	}()
}

// patience is how long an answer is waited for. Only what is dropped takes that long.
const patience = 500 * time.Millisecond

func (r router) connect(t *testing.T, from place, to netip.Addr) net.Conn {
	t.Helper()
	conn, err := r.dial(from, to, services()[0])
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dial connects from a place. A dial to one literal address stays on its thread.
func (r router) dial(from place, to netip.Addr, s service) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := netns.Set(r.places[from.name]); err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout(strings.ToLower(string(s.protocol)), netip.AddrPortFrom(to, s.port).String(), patience)
	return conn, errors.Join(err, netns.Set(r.home))
}

// send tells why no echo comes back.
func (r router) send(from place, to netip.Addr, s service) error {
	conn, err := r.dial(from, to, s)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return echoes(conn)
}

// all tries everything at once, and then tells what got through.
func (r router) all(version string) probe {
	type flow struct {
		from, to string
		s        service
	}
	places := append(podPlaces(), worldPlace(), nodePlace())
	passed := map[flow]bool{}
	var mu sync.Mutex
	var tries sync.WaitGroup
	for _, from := range places {
		for _, to := range places {
			for _, s := range services() {
				tries.Go(func() {
					err := r.send(from, to.addr(version), s)
					mu.Lock()
					defer mu.Unlock()
					passed[flow{from.name, to.name, s}] = err == nil
				})
			}
		}
	}
	tries.Wait()
	return func(from, to place, s service) bool { return passed[flow{from.name, to.name, s}] }
}

func echoes(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	buffer := make([]byte, 100)
	n, err := c.Read(buffer)
	if err == nil && string(buffer[:n]) != "hello" {
		err = fmt.Errorf("the echo is %q", buffer[:n])
	}
	return err
}
