package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	switchIPv6 = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
	outsideIP6 = "2001:db8::1" // for documentation: nobody has it
)

// TestIPv6 starts clusters on machines without IPv6, with it, and with a way to the outside by it. A DNS server of the test's own
// knows the names of one domain.
func TestIPv6(t *testing.T) {
	s := newSpace(t)
	u := newUser(t, "6")
	u.in = s
	s.shell(t, "echo 1 >"+switchIPv6)
	stub := s.nameserver(t, "127.7.7.7:5353")
	before := s.state(t)
	t.Run("switched off, all is IPv4", func(t *testing.T) { testWithoutIPv6(t, u) })
	u.perch(t, "", "cluster", "delete", "--yes")
	u.perch(t, "", "cluster", "start", "--dns-stub", "corp.example="+stub)
	u.makePods(t)
	t.Run("names of the domain", func(t *testing.T) { testStub(t, u) })
	t.Run("pods have both", func(t *testing.T) { testBothFamilies(t, u, s) })
	t.Run("policies", func(t *testing.T) { testPolicyIPv6(t, u) })
	t.Run("no way out is seen at once", func(t *testing.T) {
		r := u.inPod(t.Context(), "client", "timeout 5 nc -w 5 "+outsideIP6+" 8080")
		if r.code == 0 || !strings.Contains(r.stderr, "Network is unreachable") {
			t.Errorf("a pod that goes to where no IPv6 leads: %s", r)
		}
	})
	u.perch(t, "", "cluster", "stop")
	s.shell(t, fmt.Sprintf(`
		ip address add 2001:db8::2/64 dev card nodad; ip -6 route add default via %s; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		nsenter --net=/proc/%d/ns/net ip address add %s/64 dev wire nodad
	`, outsideIP6, s.outsidePID, outsideIP6))
	u.perch(t, "", "cluster", "start")
	t.Run("pods go out where the machine does", func(t *testing.T) {
		eventually(t, 60*time.Second, "a pod reaches the outside", func(ctx context.Context) error {
			r := u.inPod(ctx, "client", askFor(outsideIP6, "8080"))
			if !strings.HasSuffix(r.stdout, "outside") {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
		wantText(t, s.shell(t, "nft list tables"), "table inet perch-"+u.cluster)
	})
	t.Run("the domain is remembered", func(t *testing.T) { testStub(t, u) })
	u.perch(t, "", "cluster", "delete", "--yes")
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// makePods makes a web server with a Service of both families, published at the port 8099, and a client.
func (u *user) makePods(t *testing.T) {
	t.Helper()
	u.load(t, "busybox:1.36")
	u.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(`
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:1.36", command: [sh, -c, "mkdir /w; hostname >/w/index.html; exec httpd -f -p '[::]:80' -h /w"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:1.36", command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8099, targetPort: 80}], ipFamilyPolicy: PreferDualStack}
`)})
	u.perch(t, "", "kubectl", "wait", "pod/web", "pod/client", "--for=condition=Ready", "--timeout=60s")
}

// askFor is a script that asks for a page. The wget of a static busybox may crash over an address of IPv6.
func askFor(ip, port string) string {
	return "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 " + ip + " " + port
}

// inPod runs a script in a pod.
func (u *user) inPod(ctx context.Context, pod, script string) outcome {
	return u.exec(ctx, command{args: []string{"kubectl", "exec", pod, "--", "sh", "-c", script}})
}

// ips are the addresses that an object has in a field.
func (u *user) ips(t *testing.T, object, field string) []netip.Addr {
	t.Helper()
	var all []netip.Addr
	for _, text := range strings.Fields(u.perch(t, "", "kubectl", "get", object, "-o", "jsonpath={"+field+"}").stdout) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ip)
	}
	return all
}

// wantIPs wants an IPv4 address, and one of IPv6 after it or not.
func wantIPs(t *testing.T, what string, ips []netip.Addr, both bool) {
	t.Helper()
	if both && (len(ips) != 2 || !ips[0].Is4() || !ips[1].Is6()) || !both && (len(ips) != 1 || !ips[0].Is4()) {
		t.Errorf("%s has %v", what, ips)
	}
}

const (
	podIPs     = ".status.podIPs[*].ip"
	serviceIPs = ".spec.clusterIPs[*]"
	nodeIPs    = `.status.addresses[?(@.type=="InternalIP")].address`
)

// testWithoutIPv6 also starts the cluster again where there is IPv6: one that was made without stays without.
func testWithoutIPv6(t *testing.T, u *user) {
	u.perch(t, "", "cluster", "start")
	u.makePods(t)
	for range 2 {
		wantIPs(t, "a pod", u.ips(t, "pod/web", podIPs), false)
		wantIPs(t, "the Service", u.ips(t, "service/web", serviceIPs), false)
		wantIPs(t, "the node", u.ips(t, "node/"+u.cluster, nodeIPs), false)
		u.perch(t, "", "cluster", "stop")
		u.in.shell(t, "echo 0 >"+switchIPv6)
		u.perch(t, "", "cluster", "start")
		u.perch(t, "", "kubectl", "wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
	}
}

func testBothFamilies(t *testing.T, u *user, s *space) {
	wantIPs(t, "the node", u.ips(t, "node/"+u.cluster, nodeIPs), true)
	pod, service := u.ips(t, "pod/web", podIPs), u.ips(t, "service/web", serviceIPs)
	wantIPs(t, "a pod", pod, true)
	wantIPs(t, "the Service", service, true)
	if t.Failed() {
		return
	}
	r := u.inPod(t.Context(), "client", "nslookup -type=aaaa web.default.svc.cluster.local")
	wantText(t, r.stdout, service[1].String())
	r = u.inPod(t.Context(), "client", "nslookup "+service[1].String())
	wantText(t, r.stdout, "web.default.svc.cluster.local")
	for what, script := range map[string]string{"the pod": askFor(pod[1].String(), "80"), "the Service": askFor(service[1].String(), "8099")} {
		eventually(t, 20*time.Second, what+" answers", func(ctx context.Context) error {
			if r := u.inPod(ctx, "client", script); !strings.HasSuffix(r.stdout, "web\n") {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		eventually(t, 20*time.Second, "it is published on "+host, func(ctx context.Context) error {
			got, err := s.fetch(ctx, "http://"+host+":8099")
			if err == nil && got != "web\n" {
				err = fmt.Errorf("it says %q", got)
			}
			return err
		})
	}
}

// testPolicyIPv6 closes the server to all, and then opens it to the client.
func testPolicyIPv6(t *testing.T, u *user) {
	pod := u.ips(t, "pod/web", podIPs)[1].String()
	for _, step := range []struct{ from, wants string }{
		{`[]`, "Connection refused"},
		{`[{from: [{podSelector: {matchLabels: {app: client}}}]}]`, "web\n"},
	} {
		u.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: ` + step.from + `}
`)})
		eventually(t, policyWithin, "a client gets "+step.wants, func(ctx context.Context) error {
			if r := u.inPod(ctx, "client", askFor(pod, "80")); !strings.Contains(r.all(), step.wants) {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	}
}

// nameserver is a DNS server on a loopback address of the space. Every name has the address 192.0.2.7.
func (s *space) nameserver(t *testing.T, address string) string {
	t.Helper()
	udp, err := s.ListenPacket(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}
			a.Answer = []dns.RR{&dns.A{Hdr: header, A: []byte{192, 0, 2, 7}}}
		}
		_ = w.WriteMsg(a)
	})
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		go func() { _ = server.ActivateAndServe() }()
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return address
}

// testStub wants names of the domain to be asked of its server, and no others.
func testStub(t *testing.T, u *user) {
	eventually(t, 60*time.Second, "a pod resolves a name of the domain", func(ctx context.Context) error {
		if r := u.inPod(ctx, "client", "nslookup -type=a db.corp.example"); !strings.Contains(r.stdout, "192.0.2.7") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	if r := u.inPod(t.Context(), "client", "timeout 20 nslookup -type=a db.other.example"); strings.Contains(r.stdout, "192.0.2.7") {
		t.Errorf("it was asked for a name that is not of its domain: %s", r)
	}
	if f := u.finding(t, "resolvers"); !strings.Contains(f.What, "corp.example=127.7.7.7:5353") || strings.Contains(f.What, "5353 does not answer") {
		t.Errorf("doctor says %+v", f)
	}
	r := u.want(t, 2, command{args: []string{"cluster", "start", "--dns-stub", "none"}})
	wantText(t, r.stderr, "runs with other settings", "corp.example=127.7.7.7:5353", "hint: perch cluster stop")
	r = u.want(t, 2, command{args: []string{"cluster", "start", "--dns-stub", "corp.example=ns1"}})
	wantText(t, r.stderr, "a server must be an address")
}

// nodeIPv6 is the node's second address; "" when the cluster has no IPv6.
func (n *node) nodeIPv6(t *testing.T) string {
	t.Helper()
	node, err := n.api.CoreV1().Nodes().Get(t.Context(), n.cluster, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range node.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is6() {
			return ip.String()
		}
	}
	return ""
}
