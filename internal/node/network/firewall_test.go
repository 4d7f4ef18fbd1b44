package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The chains and rules of machines, as `nft -j` prints them.
const (
	dockerChains = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
		{"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "handle": 1, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
		{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
		{"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER", "handle": 2}},
		{"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}]}`
	ufwChains = `{"nftables": [
		{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
		{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 2, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}]}`
	firewalldChains = `{"nftables": [
		{"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD", "handle": 9, "type": "filter", "hook": "forward", "prio": 10, "policy": "accept"}}]}`
	ownChains = `{"nftables": [
		{"chain": {"family": "ip", "table": "perch-x", "name": "forward", "handle": 2, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
		{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 2, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}}]}`
	handmadeChains = `{"nftables": [
		{"chain": {"family": "inet", "table": "filter", "name": "forward", "handle": 2, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}]}`

	jumpRule   = `{"rule": {"handle": 4, "expr": [{"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target": "DOCKER-USER"}}]}}`
	xtRule     = `{"rule": {"handle": 5, "expr": [{"xt": {"type": "match", "name": "conntrack"}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}}`
	openRule   = `{"rule": {"handle": 7, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "perch-x"}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}}`
	rejectRule = `{"rule": {"handle": 8, "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}}`
	stateRule  = `{"rule": {"handle": 3, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}]}}`
	badRule    = `{"rule": {"handle": 6, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]}}`
)

func TestFirewalls(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		chains string
		rules  map[string]string // of a chain
		want   []Firewall
	}{
		"Docker": {
			dockerChains, map[string]string{"ip filter FORWARD": jumpRule + "," + xtRule},
			[]Firewall{{Family: "ip", Table: "filter", Chain: "FORWARD", Door: "DOCKER-USER"}},
		},
		"Docker, with our rules": {
			dockerChains, map[string]string{"ip filter DOCKER-USER": openRule},
			[]Firewall{{Family: "ip", Table: "filter", Chain: "FORWARD", Door: "DOCKER-USER", Open: true}},
		},
		"ufw":                 {ufwChains, nil, []Firewall{{Family: "ip", Table: "filter", Chain: "FORWARD", Door: "FORWARD"}}},
		"ufw, with our rules": {ufwChains, map[string]string{"ip filter FORWARD": openRule + "," + xtRule}, []Firewall{{Family: "ip", Table: "filter", Chain: "FORWARD", Door: "FORWARD", Open: true}}},
		"firewalld rejects by its last rule": {
			firewalldChains, map[string]string{"inet firewalld filter_FORWARD": stateRule + "," + badRule + "," + rejectRule},
			[]Firewall{{Family: "inet", Table: "firewalld", Chain: "filter_FORWARD"}},
		},
		"what drops on a condition is no firewall":      {firewalldChains, map[string]string{"inet firewalld filter_FORWARD": stateRule + "," + badRule}, nil},
		"a table made by hand has no door":              {handmadeChains, nil, []Firewall{{Family: "inet", Table: "filter", Chain: "forward"}}},
		"our own table, and one that lets pass, do not": {ownChains, map[string]string{"ip perch-x forward": badRule + "," + rejectRule}, nil},
		"none": {`{"nftables": [{"metainfo": {}}]}`, nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chains, _, err := parseRuleset([]byte(test.chains))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Plan{HostLink: "perch-x"}.firewalls(chains, func(c chain) ([]rule, error) {
				_, rules, err := parseRuleset(fmt.Appendf(nil, `{"nftables": [%s]}`, test.rules[c.Family+" "+c.Table+" "+c.Name]))
				return rules, err
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLegacyFirewall(t *testing.T) {
	t.Parallel()
	closed := Firewall{Family: legacyFamily, Table: "filter", Chain: "FORWARD"}
	opened := closed
	opened.Open = true
	for rules, want := range map[string][]Firewall{
		"-P FORWARD ACCEPT\n-A FORWARD -j DOCKER-USER\n":         nil,
		"-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n":           {closed},
		"-P FORWARD DROP\n-A FORWARD -i perch-x -j ACCEPT\n":     {opened},
		"-P FORWARD DROP\n-A FORWARD -i perch-other -j ACCEPT\n": {closed},
	} {
		if diff := cmp.Diff(want, legacyFirewall(rules, "perch-x")); diff != "" {
			t.Errorf("%q: %s", rules, diff)
		}
	}
}

func TestFirewallCures(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]Firewall{
		"iptables -I DOCKER-USER -i perch-x -j ACCEPT && iptables -I DOCKER-USER -o perch-x -j ACCEPT":                     {Family: "ip", Table: "filter", Chain: "FORWARD", Door: "DOCKER-USER"},
		"iptables-legacy -I FORWARD -i perch-x -j ACCEPT && iptables-legacy -I FORWARD -o perch-x -j ACCEPT":               {Family: legacyFamily, Table: "filter", Chain: "FORWARD"},
		"firewall-cmd --zone=trusted --add-interface=perch-x":                                                              {Family: "inet", Table: "firewalld", Chain: "filter_FORWARD"},
		"nft insert rule inet my forward iifname perch-x accept && nft insert rule inet my forward oifname perch-x accept": {Family: "inet", Table: "my", Chain: "forward"},
	} {
		if got := f.Cure("perch-x"); got != want {
			t.Errorf("%s: %s", f, got)
		}
	}
}

func TestRuleLinks(t *testing.T) {
	t.Parallel()
	var r struct{ Rule rule }
	if err := json.Unmarshal([]byte(openRule), &r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"perch-x"}, r.Rule.links()); diff != "" {
		t.Error(diff)
	}
}

// A firewall of IPv6 counts when pods go out by it.
func TestFirewallsOfSecondFamily(t *testing.T) {
	t.Parallel()
	chains, _, err := parseRuleset([]byte(dockerChains))
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{HostLink: "perch-x", IPv6: Second{HostIP: netip.MustParsePrefix("fd01::1/126")}}
	got, err := p.firewalls(chains, func(chain) ([]rule, error) { return nil, nil })
	if err != nil || len(got) != 2 || got[1].Family != "ip6" || got[1].Door != "FORWARD" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if cure := got[1].Cure("perch-x"); !strings.HasPrefix(cure, "ip6tables -I FORWARD -i perch-x") {
		t.Error(cure)
	}
}
