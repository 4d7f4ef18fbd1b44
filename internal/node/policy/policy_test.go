package policy

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/knftables"
)

var update = flag.Bool("update", false, "write what is there into the golden files")

// goldens are the cases: policies, who then reaches whom, and the table of nft. TestKernel sends packets by them.
func goldens(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	all := map[string]*txtar.Archive{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = a
	}
	return all
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for path, a := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			rules := Decide(snapshot(t, section(a, "policies.yaml")))
			got := map[string]string{"reach.txt": reach(rules.passes("4")), "table.nft": dump(t, rules)}
			if v6 := reach(rules.passes("6")); v6 != got["reach.txt"] {
				t.Errorf("IPv6 differs, -IPv4 +IPv6:\n%s", cmp.Diff(got["reach.txt"], v6))
			}
			if *update {
				a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name != "policies.yaml" })
				for _, name := range []string{"reach.txt", "table.nft"} {
					a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(got[name])})
				}
				if err := os.WriteFile(path, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			for name, text := range got {
				if diff := cmp.Diff(section(a, name), text); diff != "" {
					t.Errorf("%s, -want +got:\n%s", name, diff)
				}
			}
		})
	}
}

// dump is the table as nft would list it.
func dump(t *testing.T, r Rules) string {
	t.Helper()
	fake := knftables.NewFake(knftables.InetFamily, "perch-policies")
	tx := fake.NewTransaction()
	write(tx, r, podNets())
	if err := fake.Run(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	return fake.Dump()
}

// passes reads the rules as the kernel must.
func (r Rules) passes(version string) probe {
	return func(from, to place, s service) bool {
		source, target := from.addr(version), to.addr(version)
		if from.name == "node" || source == target || !r.Enforced {
			return true
		}
		for _, side := range []struct {
			isolations []Isolation
			pod, peer  netip.Addr
		}{{r.Egress, source, target}, {r.Ingress, target, source}} {
			for _, i := range side.isolations {
				if slices.Contains(i.Pods, side.pod) && !slices.ContainsFunc(i.Allows, func(a Allow) bool {
					return a.Peers.include(side.peer) && a.Ports.include(Endpoint{target, s.protocol, s.port})
				}) {
					return false
				}
			}
		}
		return true
	}
}

func (p *Peers) include(a netip.Addr) bool {
	return p == nil || slices.Contains(p.Pods, a) || slices.ContainsFunc(p.Blocks, func(b netipx.IPRange) bool { return b.Contains(a) })
}

// Equal input in another order is equal rules: else the table would be written again and again.
func TestDecideDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	for path, a := range goldens(t) {
		s := snapshot(t, section(a, "policies.yaml"))
		want := Decide(s)
		slices.Reverse(s.Pods)
		slices.Reverse(s.Policies)
		if diff := cmp.Diff(want, Decide(s), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netipx.IPRange) bool { return a == b })); diff != "" {
			t.Errorf("%s: -forwards +backwards:\n%s", path, diff)
		}
	}
}

// An object of before there were policyTypes; the API server would set them.
func TestPolicyTypesByDefault(t *testing.T) {
	t.Parallel()
	both := []networkingv1.NetworkPolicyEgressRule{{}}
	for _, tt := range []struct {
		spec            networkingv1.NetworkPolicySpec
		ingress, egress bool
	}{
		{networkingv1.NetworkPolicySpec{}, true, false},
		{networkingv1.NetworkPolicySpec{Egress: both}, true, true},
		{networkingv1.NetworkPolicySpec{Egress: both, PolicyTypes: []networkingv1.PolicyType{"Egress"}}, false, true},
		{networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}, true, true},
	} {
		p := &networkingv1.NetworkPolicy{Spec: tt.spec}
		if got := speaksOf(p, "Ingress"); got != tt.ingress {
			t.Errorf("%+v isolates ingress: %t", tt.spec, got)
		}
		if got := speaksOf(p, "Egress"); got != tt.egress {
			t.Errorf("%+v isolates egress: %t", tt.spec, got)
		}
	}
}

func TestRangesAreJoined(t *testing.T) {
	t.Parallel()
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	got := merged([]PortRange{{udp, 53, 53}, {tcp, 90, 100}, {tcp, 80, 80}, {tcp, 81, 85}, {tcp, 80, 82}, {tcp, 95, 110}, {tcp, 65535, 65535}, {tcp, 443, 443}})
	want := []PortRange{{tcp, 80, 85}, {tcp, 90, 110}, {tcp, 443, 443}, {tcp, 65535, 65535}, {udp, 53, 53}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWithoutPoliciesThereIsNoTable(t *testing.T) {
	t.Parallel()
	if got := dump(t, Decide(snapshot(t, ""))); strings.Contains(got, "add") {
		t.Errorf("there is\n%s", got)
	}
}
