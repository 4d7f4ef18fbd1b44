package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Firewall is a chain of another program that every packet between the sandbox and the outside passes, and that drops what
// no rule in it lets through. An accept in the node's own table does not help there: a drop in any table is the last word.
type Firewall struct {
	Family, Table, Chain string
	// Door is the chain of the same table that rules of other programs belong into; "" where the table is its owner's alone.
	Door string
	Open bool // the door lets the cluster's cable pass
}

// The names that iptables gives to the table and the chain that all programs share, and Docker to the chain that it
// keeps for others and looks into first.
const (
	sharedTable, sharedChain = "filter", "FORWARD"
	dockerDoor               = "DOCKER-USER"
	firewalldTable           = "firewalld"
)

// sharedFamilies are those of iptables and ip6tables.
func sharedFamilies() []string { return []string{"ip", "ip6"} }

// legacyFamily is the Family of a Firewall that old iptables keeps, of which nft knows nothing.
const legacyFamily = "iptables-legacy"

// String names the chain, as nft does.
func (f Firewall) String() string { return strings.Join([]string{f.Family, f.Table, f.Chain}, " ") }

// Cure is the command by which an administrator lets the cable pass.
func (f Firewall) Cure(link string) string {
	switch {
	case f.Door != "":
		program := f.Family + "tables" // as it happens
		return fmt.Sprintf("%[3]s -I %[1]s -i %[2]s -j ACCEPT && %[3]s -I %[1]s -o %[2]s -j ACCEPT", f.Door, link, program)
	case f.Family == legacyFamily:
		return fmt.Sprintf("iptables-legacy -I %[1]s -i %[2]s -j ACCEPT && iptables-legacy -I %[1]s -o %[2]s -j ACCEPT", f.Chain, link)
	case f.Table == firewalldTable:
		return "firewall-cmd --zone=trusted --add-interface=" + link
	}
	return fmt.Sprintf("nft insert rule %[1]s iifname %[2]s accept && nft insert rule %[1]s oifname %[2]s accept", f, link)
}

// Firewalls looks for such chains on this machine. The cluster's interface need not exist.
func (p Plan) Firewalls(ctx context.Context) ([]Firewall, error) {
	chains, err := listChains(ctx)
	if err != nil {
		return nil, err
	}
	found, err := p.firewalls(chains, func(c chain) ([]rule, error) { return listRules(ctx, c) })
	if err != nil {
		return nil, err
	}
	return append(found, legacyFirewalls(ctx, p.HostLink)...), nil
}

// firewalls is pure but for rules, which reads a chain's.
func (p Plan) firewalls(chains []chain, rules func(chain) ([]rule, error)) ([]Firewall, error) {
	families := []string{"ip", "inet"}
	if p.IPv6.Out() {
		families = append(families, "ip6")
	}
	var found []Firewall
	for _, c := range chains {
		foreign := !strings.HasPrefix(c.Table, tablePrefix)
		if c.Hook != "forward" || !slices.Contains(families, c.Family) || !foreign {
			continue
		}
		own, err := rules(c)
		if err != nil {
			return nil, err
		}
		if c.Policy != "drop" && (len(own) == 0 || !own[len(own)-1].endsAll()) {
			continue
		}
		f := Firewall{Family: c.Family, Table: c.Table, Chain: c.Name, Door: doorOf(c, chains)}
		if f.Door != "" && f.Door != c.Name {
			if own, err = rules(chain{Family: c.Family, Table: c.Table, Name: f.Door}); err != nil {
				return nil, err
			}
		}
		f.Open = slices.ContainsFunc(own, func(r rule) bool { return r.accepts(p.HostLink) })
		found = append(found, f)
	}
	return found, nil
}

// doorOf is where in the chain's table rules of others belong. Only iptables' own table is shared, by convention: every
// program that forwards puts its rules there. A table with another name is somebody's own.
func doorOf(c chain, all []chain) string {
	if !slices.Contains(sharedFamilies(), c.Family) || c.Table != sharedTable || c.Name != sharedChain {
		return ""
	}
	if slices.ContainsFunc(all, func(o chain) bool { return o.Family == c.Family && o.Table == c.Table && o.Name == dockerDoor }) {
		return dockerDoor
	}
	return sharedChain
}

// openDoors lets the cable pass where a firewall has a door and it is not open. Our own table still drops what is no
// answer to a question from inside. Rules are written as iptables itself writes them, or it would not read its table any
// more. Firewalls without a door are left alone: preflight tells of them.
func (p Plan) openDoors(ctx context.Context) error {
	found, err := p.Firewalls(ctx)
	if err != nil {
		return err
	}
	var rules strings.Builder
	for _, f := range found {
		if f.Door == "" || f.Open {
			continue
		}
		for _, key := range []string{"oifname", "iifname"} {
			fmt.Fprintf(&rules, "insert rule %s %s %s %s %q counter accept\n", f.Family, f.Table, f.Door, key, p.HostLink)
		}
	}
	if rules.Len() == 0 {
		return nil
	}
	return nft(ctx, rules.String())
}

// doorRule is a rule that a node put into a door.
type doorRule struct {
	rule
	link string
}

// String is the command that deletes it.
func (r doorRule) String() string {
	return "nft " + r.deletion()
}

// deletion is the same, as a line that nft reads.
func (r doorRule) deletion() string {
	return fmt.Sprintf("delete rule %s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
}

// doorRules are the rules in doors about an interface of ours, as ours tells.
func doorRules(ctx context.Context, ours func(link string) bool) ([]doorRule, error) {
	chains, err := listChains(ctx)
	if err != nil {
		return nil, err
	}
	var found []doorRule
	for _, c := range chains {
		if !slices.Contains(sharedFamilies(), c.Family) || c.Table != sharedTable || c.Name != sharedChain && c.Name != dockerDoor {
			continue
		}
		rules, err := listRules(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			for _, link := range r.links() {
				if ours(link) {
					found = append(found, doorRule{r, link})
				}
			}
		}
	}
	return found, nil
}

// closeDoors takes back what openDoors did.
func closeDoors(ctx context.Context, link string) error {
	found, err := doorRules(ctx, func(other string) bool { return other == link })
	if err != nil || len(found) == 0 {
		return nil //nolint:nilerr // what cannot be listed (an nft without JSON) was not opened either
	}
	var rules strings.Builder
	for _, r := range found {
		rules.WriteString(r.deletion() + "\n")
	}
	return nft(ctx, rules.String())
}

// legacyFirewalls asks the iptables of before nftables, where it is in use: its tables are others, and nft does not see them.
func legacyFirewalls(ctx context.Context, link string) []Firewall {
	names, err := os.ReadFile("/proc/net/ip_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(names)), sharedTable) {
		return nil
	}
	for _, program := range []string{"iptables-legacy", "iptables"} {
		out, err := exec.CommandContext(ctx, program, "-S", sharedChain).Output()
		if err == nil {
			return legacyFirewall(string(out), link)
		}
	}
	return nil
}

// legacyFirewall reads what `iptables -S FORWARD` prints.
func legacyFirewall(rules, link string) []Firewall {
	f := Firewall{Family: legacyFamily, Table: sharedTable, Chain: sharedChain}
	drops := false
	for line := range strings.Lines(rules) {
		fields := strings.Fields(line)
		drops = drops || slices.Equal(fields, []string{"-P", sharedChain, "DROP"})
		f.Open = f.Open || slices.Contains(fields, link) && slices.Contains(fields, "ACCEPT")
	}
	if !drops {
		return nil
	}
	return []Firewall{f}
}
