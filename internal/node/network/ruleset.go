package network

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// chain is a chain of the host's nft tables, as `nft -j` writes it.
type chain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Hook   string `json:"hook"`   // "" for one that others jump to
	Policy string `json:"policy"` // of those with a hook: accept or drop
}

// rule is a rule of a chain, as `nft -j` writes it: each statement is an object with one key.
type rule struct {
	Family string                       `json:"family"`
	Table  string                       `json:"table"`
	Chain  string                       `json:"chain"`
	Handle int                          `json:"handle"` // by which it is deleted
	Expr   []map[string]json.RawMessage `json:"expr"`
}

// parseRuleset reads what `nft -j list …` prints.
func parseRuleset(data []byte) (chains []chain, rules []rule, err error) {
	var all struct {
		NFTables []struct {
			Chain *chain `json:"chain"`
			Rule  *rule  `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, nil, fmt.Errorf("nft -j: %w", err)
	}
	for _, one := range all.NFTables {
		if one.Chain != nil {
			chains = append(chains, *one.Chain)
		}
		if one.Rule != nil {
			rules = append(rules, *one.Rule)
		}
	}
	return chains, rules, nil
}

// endsAll says whether the rule is the end of every packet that comes to it: a drop or reject on no condition.
func (r rule) endsAll() bool {
	ends := false
	for _, statement := range r.Expr {
		for verb := range statement {
			switch verb {
			case "drop", "reject":
				ends = true
			case "counter", "log":
			default: // a match, a jump, an extension of iptables
				return false
			}
		}
	}
	return ends
}

// accepts says whether the rule lets everything pass that comes from the interface, or goes to it.
func (r rule) accepts(link string) bool {
	return slices.Contains(r.links(), link) && slices.ContainsFunc(r.Expr, func(s map[string]json.RawMessage) bool {
		_, ok := s["accept"]
		return ok
	})
}

// links are the interfaces that the rule is about.
func (r rule) links() []string {
	var names []string
	for _, statement := range r.Expr {
		var match struct {
			Op   string `json:"op"`
			Left struct {
				Meta struct {
					Key string `json:"key"`
				} `json:"meta"`
			} `json:"left"`
			Right json.RawMessage `json:"right"`
		}
		var name string
		if json.Unmarshal(statement["match"], &match) != nil || match.Op != "==" || json.Unmarshal(match.Right, &name) != nil {
			continue
		}
		if key := match.Left.Meta.Key; key == "iifname" || key == "oifname" {
			names = append(names, name)
		}
	}
	return names
}

// listChains is every chain of the host.
func listChains(ctx context.Context) ([]chain, error) {
	data, err := nftOutput(ctx, "-j", "list", "chains")
	if err != nil {
		return nil, err
	}
	chains, _, err := parseRuleset(data)
	return chains, err
}

// listRules is the rules of one chain.
func listRules(ctx context.Context, c chain) ([]rule, error) {
	data, err := nftOutput(ctx, "-j", "-a", "list", "chain", c.Family, c.Table, c.Name)
	if err != nil {
		return nil, err
	}
	_, rules, err := parseRuleset(data)
	return rules, err
}
