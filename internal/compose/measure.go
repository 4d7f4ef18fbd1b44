package compose

import "go.yaml.in/yaml/v4"

const (
	// mostAliased is how many nodes the aliases of a file may stand for, far over what any true file needs: anchors of anchors
	// can stand for billions.
	mostAliased = 1 << 18

	// deepestYAML is how deep a file may be nested. The specification's own depth is below 20.
	deepestYAML = 200
)

// measure finds out how big a document is when its aliases are written out, without writing them out. What no end can be found
// of is a problem: whoever walks such a tree later, compose-go too, would not come back.
type measure struct {
	source  *source
	found   *findings
	sizes   map[*yaml.Node]int  // of what was measured before
	open    map[*yaml.Node]bool // the nodes that hold the one that is measured
	written int                 // nodes that the file has
	tags    int                 // how many have a tag that is not known
}

// tag tells of a tag that is neither YAML's for the values that Compose has, nor Compose's own.
func (m *measure) tag(n *yaml.Node) {
	if n.Style&yaml.TaggedStyle == 0 {
		return
	}
	switch n.Tag {
	case "!", "!reset", "!override", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!merge":
	default:
		m.source.bad[n] = true
		m.tags++
		m.found.problem(m.source.at(n, ""), "unknown tag "+n.Tag, "Compose has !reset and !override")
	}
}

func (m *measure) node(n *yaml.Node, depth int) int {
	if n.Kind == yaml.AliasNode {
		if m.open[n.Alias] {
			m.found.problem(m.source.at(n, ""), "the anchor "+n.Value+" holds itself", "write out what is meant here")
			return 0
		}
		return m.sizes[n.Alias]
	}
	m.written++
	m.tag(n)
	if depth == deepestYAML {
		m.found.problem(m.source.at(n, ""), "nested too deep", "look for a bracket that is not closed")
		return 0
	}
	if depth > deepestYAML {
		return 0
	}
	m.open[n] = true
	size := 1
	for _, one := range n.Content {
		if size += m.node(one, depth+1); size > 1<<40 {
			size = 1 << 40
		}
	}
	delete(m.open, n)
	m.sizes[n] = size
	return size
}
