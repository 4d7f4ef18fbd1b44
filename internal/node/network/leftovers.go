package network

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Leftover is something on the host that a node made and no node has any more.
type Leftover struct {
	What    string
	Command string // that removes it
	Remove  func(ctx context.Context) error
}

// Leftovers looks for what nodes that were killed have left of interfaces, tables and rules in firewalls. running are the
// names of the clusters that have a supervisor.
func Leftovers(ctx context.Context, running []string) ([]Leftover, error) {
	links, tables := map[string]bool{}, map[string]bool{}
	for _, name := range running {
		links[linkName(name)], tables[tablePrefix+name] = true, true
	}
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var left []Leftover
	for _, l := range all {
		if name := l.Attrs().Name; l.Type() == "veth" && strings.HasPrefix(name, linkPrefix) && !links[name] {
			left = append(left, Leftover{"the interface " + name, "ip link delete " + name, func(context.Context) error { return netlink.LinkDel(l) }})
		}
	}
	for _, family := range tableFamilies() {
		names, err := listTables(ctx, family)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasPrefix(name, tablePrefix) && !tables[name] {
				what := "delete table " + family + " " + name
				left = append(left, Leftover{"the nft table " + name, "nft " + what, func(ctx context.Context) error { return nft(ctx, what+"\n") }})
			}
		}
	}
	rules, err := doorRules(ctx, func(link string) bool { return strings.HasPrefix(link, linkPrefix) && !links[link] })
	for _, r := range rules {
		what := fmt.Sprintf("a rule for %s in the firewall, chain %s", r.link, r.Chain)
		left = append(left, Leftover{what, r.String(), func(ctx context.Context) error {
			return nft(ctx, r.deletion()+"\n")
		}})
	}
	return left, err
}

// listTables are the names of the nft tables of a family, sorted.
func listTables(ctx context.Context, family string) ([]string, error) {
	data, err := nftOutput(ctx, "-j", "list", "tables", family)
	if err != nil {
		return nil, err
	}
	var all struct {
		NFTables []struct {
			Table *struct {
				Name string `json:"name"`
			} `json:"table"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("nft -j: %w", err)
	}
	var names []string
	for _, one := range all.NFTables {
		if one.Table != nil {
			names = append(names, one.Table.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
