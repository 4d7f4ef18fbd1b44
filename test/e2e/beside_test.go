package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dockerRules are what Docker's iptables leave in nft's tables: everything that is passed on is dropped, unless a rule of
// Docker's own, or one in DOCKER-USER, lets it through.
const dockerRules = `table ip filter {
	chain DOCKER-USER { counter return; }
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump DOCKER-USER
	}
}
`

// TestBesideOthers starts a cluster on a machine that has Docker's firewall, and on which a VPN comes up meanwhile.
func TestBesideOthers(t *testing.T) {
	s := newSpace(t)
	u := newUser(t, "b")
	u.in = s
	s.shell(t, "nft -f - <<'END'\n"+dockerRules+"END")
	before := s.state(t)
	u.perch(t, "", "cluster", "start", "--pod-cidr", "10.60.0.0/16", "--service-cidr", "10.61.0.0/16")
	u.load(t, "busybox:1.36")
	link := "perch-" + u.cluster
	t.Run("the networks are those that were asked for", func(t *testing.T) {
		r := u.perch(t, "", "kubectl", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
		if r.stdout != "10.61.0.1" {
			t.Errorf("the API server's Service is at %s", r.stdout)
		}
		u.perch(t, "", "kubectl", "run", "stays", "--image=busybox:1.36", "--command", "--", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done")
		u.perch(t, "", "kubectl", "wait", "pod/stays", "--for=condition=Ready", "--timeout=60s")
		r = u.perch(t, "", "kubectl", "get", "pod", "stays", "-o", "jsonpath={.status.podIP}")
		if ip, err := netip.ParseAddr(r.stdout); err != nil || !netip.MustParsePrefix("10.60.0.0/16").Contains(ip) {
			t.Errorf("a pod is at %q", r.stdout)
		}
	})
	t.Run("settings of a running cluster are not changed", func(t *testing.T) {
		u.perch(t, "", "cluster", "start", "--pod-cidr", "10.60.0.0/16")
		r := u.want(t, 2, command{args: []string{"cluster", "start", "--pod-cidr", "10.70.0.0/16"}})
		wantText(t, r.stderr, "10.70.0.0/16", "10.60.0.0/16", "hint: ")
		r = u.want(t, 2, command{args: []string{"cluster", "start", "--subnet", "172.30.7.0/24"}})
		wantText(t, r.stderr, "runs with other settings", "hint: perch cluster stop")
	})
	t.Run("pods get through Docker's firewall", func(t *testing.T) {
		u.getsOut(t, outsideIP)
		wantText(t, s.shell(t, "nft list chain ip filter DOCKER-USER"), `iifname "`+link+`"`, `oifname "`+link+`"`)
		if f := u.finding(t, "firewall"); f.State != "ok" {
			t.Errorf("doctor says %+v", f)
		}
	})
	t.Run("doctor mends a firewall that came later", func(t *testing.T) {
		s.shell(t, "nft flush chain ip filter DOCKER-USER; nft add rule ip filter DOCKER-USER counter return")
		if f := u.finding(t, "firewall"); f.State != "warn" || !strings.Contains(f.Cure, "DOCKER-USER -i "+link) {
			t.Errorf("doctor says %+v", f)
		}
		if r := u.asks(t.Context(), outsideIP); strings.HasSuffix(r.stdout, "outside") {
			t.Errorf("the firewall lets everything through, so this proves nothing: %s", r)
		}
		wantText(t, u.perch(t, "", "doctor", "--fix").stderr, "ran: iptables -I DOCKER-USER -i "+link)
		u.getsOut(t, outsideIP)
	})
	t.Run("a VPN that claims 10.0.0.0/8 is in nobody's way", func(t *testing.T) {
		s.shell(t, "ip route add 10.0.0.0/8 via "+outsideIP)
		u.getsOut(t, outsideIP)
		u.getsOut(t, behindVPN)
		u.perch(t, "", "cluster", "status")
		if f := u.finding(t, "subnets"); f.State != "warn" || !strings.Contains(f.What, "10.0.0.0/8 dev card") {
			t.Errorf("doctor does not say what pods cannot reach: %+v", f)
		}
	})
	t.Run("the next start finds other addresses", func(t *testing.T) {
		u.perch(t, "", "cluster", "stop")
		u.perch(t, "", "cluster", "start")
		if ip := u.nodeIP(t); !strings.HasPrefix(ip, "172.30.") {
			t.Errorf("the node is at %s, which the VPN has", ip)
		}
		u.getsOut(t, behindVPN)
	})
	t.Run("a subnet can be chosen, and is kept", func(t *testing.T) {
		u.perch(t, "", "cluster", "stop")
		u.want(t, 2, command{args: []string{"cluster", "start", "--subnet", "203.0.113.0/28"}})
		u.perch(t, "", "cluster", "start", "--subnet", "192.168.77.0/24")
		u.perch(t, "", "cluster", "stop")
		u.perch(t, "", "cluster", "start")
		if ip := u.nodeIP(t); ip != "192.168.77.2" {
			t.Errorf("the node is at %s", ip)
		}
		u.getsOut(t, outsideIP)
	})
	u.perch(t, "", "cluster", "delete", "--yes")
	s.shell(t, "ip route delete 10.0.0.0/8")
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// getsOut wants the pod "stays" to reach the web server outside at that address.
func (u *user) getsOut(t *testing.T, address string) {
	t.Helper()
	eventually(t, 60*time.Second, "a pod reaches "+address, func(ctx context.Context) error {
		if r := u.asks(ctx, address); !strings.HasSuffix(r.stdout, "outside") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
}

func (u *user) asks(ctx context.Context, address string) outcome {
	ask := "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 " + address + " 8080"
	return u.exec(ctx, command{args: []string{"kubectl", "exec", "stays", "--", "sh", "-c", ask}})
}

// nodeIP is the node's address on the machine's side.
func (u *user) nodeIP(t *testing.T) string {
	t.Helper()
	return u.ips(t, "node/"+u.cluster, nodeIPs)[0].String()
}

// state is what the space has of interfaces, routes, rules and switches, without what counts.
func (s *space) state(t *testing.T) string {
	t.Helper()
	return s.shell(t, "ip -br link | sed 's/@.*//; s/ .*//'; ip route; nft -s list ruleset; cat /proc/sys/net/ipv4/ip_forward")
}

// diagnosis is a finding of doctor.
type diagnosis struct{ Check, State, What, Cure string }

// finding is what doctor says about one thing.
func (u *user) finding(t *testing.T, check string) diagnosis {
	t.Helper()
	r := u.exec(t.Context(), command{args: []string{"doctor", "-o", "json"}})
	var all struct{ Findings []diagnosis }
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	for _, f := range all.Findings {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("doctor does not look at %s: %s", check, r)
	return diagnosis{}
}

// TestDoctor looks at a machine without a cluster: as root, as anybody, and where things are missing.
func TestDoctor(t *testing.T) {
	s := newSpace(t)
	u := newUser(t, "d")
	u.in = s
	nothing := filepath.Join(u.dir, "nothing")
	if err := os.Mkdir(nothing, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("as root", func(t *testing.T) {
		r := u.perch(t, "", "doctor", "--verbose")
		wantText(t, r.stdout, "namespaces", "cgroups", "subnets", "kubeconfig")
		if strings.Contains(u.perch(t, "", "doctor").stdout, "namespaces") {
			t.Error("it tells what is in order")
		}
	})
	t.Run("what is missing is told with its cure", func(t *testing.T) {
		r := u.want(t, 1, command{args: []string{"doctor"}, env: []string{"PATH=" + nothing}})
		wantText(t, r.stdout, "missing", "the program nft is missing", "cure: apt-get install nftables")
		wantText(t, r.stderr, "error: ", "hint: ")
	})
	t.Run("as anybody", func(t *testing.T) {
		reachable := *u
		reachable.program = u.reachableProgram(t)
		r := reachable.want(t, 0, command{args: []string{"doctor"}, as: &syscall.Credential{Uid: 65534, Gid: 65534}})
		wantText(t, r.stdout, "not root", "cure: sudo perch doctor")
	})
	t.Run("a proxy that the sandbox cannot reach", func(t *testing.T) {
		r := u.want(t, 0, command{args: []string{"doctor"}, env: []string{"HTTPS_PROXY=http://127.0.0.1:3128"}})
		wantText(t, r.stdout, "127.0.0.1:3128", "inside the node's sandbox")
	})
	t.Run("what a killed cluster left is removed, and nothing else", func(t *testing.T) {
		s.shell(t, `
			ip link add perch-gone type veth peer name gone
			ip link add perch-mine type ifb
			nft add table ip perch-gone; nft add table ip mine
			nft -f - <<'END'
`+dockerRules+`END
			nft insert rule ip filter DOCKER-USER iifname perch-gone counter accept
			nft insert rule ip filter DOCKER-USER iifname eth7 counter accept
		`)
		if f := u.finding(t, "leftovers"); f.State != "warn" || !strings.Contains(f.What, "the interface perch-gone") || !strings.Contains(f.What, "the nft table perch-gone") {
			t.Errorf("doctor says %+v", f)
		}
		wantText(t, u.perch(t, "", "doctor", "--fix", "--dry-run").stderr, "would run: ip link delete perch-gone")
		r := u.perch(t, "", "doctor", "--fix")
		wantText(t, r.stderr, "ran: ip link delete perch-gone", "ran: nft delete table ip perch-gone", "ran: nft delete rule ip filter DOCKER-USER handle ")
		if f := u.finding(t, "leftovers"); strings.Contains(f.What, "gone") {
			t.Errorf("doctor says %+v", f)
		}
		if links := s.links(t); slices.Contains(links, "perch-gone") || !slices.Contains(links, "perch-mine") || !slices.Contains(links, "card") {
			t.Errorf("interfaces are %v", links)
		}
		rules := s.shell(t, "nft list ruleset")
		wantText(t, rules, "table ip mine", "eth7")
		if strings.Contains(rules, "perch-gone") {
			t.Errorf("left is:\n%s", rules)
		}
	})
}
