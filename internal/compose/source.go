package compose

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// source is one Compose file with the positions of everything in it.
type source struct {
	path     string // absolute; "-" is standard input
	shown    string // how messages name it
	order    int
	main     bool            // given with -f or found; others were included or extended
	from     *source         // the file that includes it
	broken   bool            // it is not YAML that can be walked
	followed bool            // what it includes was read
	override bool            // not the first of its group: it need not be valid by itself
	vars     interpolator    // its variables: an included file may have an env file of its own
	dir      string          // what relative include and extends paths start from
	services map[string]bool // of an extended file: those that are extended; nil: all
	content  []byte
	docs     []*yaml.Node        // the root mapping of each document
	bad      map[*yaml.Node]bool // values that cannot be read, or keys that are not known
}

// sources are all Compose files that make up a project, the main ones first.
type sources []*source

// parse reads the YAML of content. A file that is not YAML is a problem with the line of the mistake.
func (s *source) parse(f *findings) {
	s.bad = map[*yaml.Node]bool{}
	decoder := yaml.NewDecoder(strings.NewReader(string(s.content)))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if err != nil {
			if err.Error() != "EOF" {
				s.broken = true
				f.problem(s.yamlPosition(err), "invalid YAML: "+yamlReason(err), yamlHint(err))
			}
			return
		}
		if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
			continue
		}
		before := len(f.problems)
		m := measure{source: s, found: f, sizes: map[*yaml.Node]int{}, open: map[*yaml.Node]bool{}}
		if size := m.node(node.Content[0], 0); size-m.written > mostAliased {
			f.problem(s.at(node.Content[0], ""), "the anchors of this file stand for too much", "write out what they stand for")
		}
		s.broken = s.broken || len(f.problems)-before > m.tags
		s.docs = append(s.docs, node.Content[0])
	}
}

var (
	yamlLine   = regexp.MustCompile(`line (\d+)`)
	yamlColumn = regexp.MustCompile(`column (\d+)`)
	yamlPlace  = regexp.MustCompile(`(?:while [a-z ]+ )?(?:at )?(?:<unknown position>: ?|line \d+(?:, column \d+)?: ?)+`)
)

// yamlPosition takes the place out of a YAML error. A scanner error tells where the thing began, counted from 1; a parser
// error tells where its context began and then where it stopped, counted from 0.
func (s *source) yamlPosition(err error) position {
	at := position{file: s.shown, order: s.order}
	text := err.Error()
	lines := yamlLine.FindAllStringSubmatch(text, -1)
	if len(lines) == 0 {
		at.line = 1 // it knows of no line where it would count 0
		return at
	}
	columns := yamlColumn.FindAllStringSubmatch(text, -1)
	which := 0
	if strings.Contains(text, "while parsing") {
		which = len(lines) - 1
	}
	at.line, _ = strconv.Atoi(lines[which][1])
	if strings.Contains(text, "while parsing") {
		at.line++
	}
	if len(columns) == len(lines) {
		at.col, _ = strconv.Atoi(columns[which][1])
	}
	if last := strings.Count(strings.TrimRight(string(s.content), "\n"), "\n") + 1; at.line > last {
		at.line = last
	}
	return at
}

func yamlReason(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	return strings.TrimSpace(yamlPlace.ReplaceAllString(text, ""))
}

func yamlHint(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "cannot start any token"):
		return "indent with spaces, not tabs; quote a value that begins with @ or `"
	case strings.Contains(text, "mapping values are not allowed"):
		return "quote a value that has a colon and a space in it"
	case strings.Contains(text, "unknown anchor"):
		return "define the anchor with & before it is used with *"
	case strings.Contains(text, "did not find expected"):
		return "look at the indentation of this line and of those before it"
	case strings.Contains(text, "quoted scalar"):
		return "close the quote"
	}
	return ""
}

// at is the position of a node.
func (s *source) at(n *yaml.Node, path string) position {
	p := position{file: s.shown, order: s.order, path: path}
	if n != nil {
		p.line, p.col = n.Line, n.Column
	}
	return p
}

// find is where the value of a path of the merged project stands: in the last main file that has it, else in the file
// that was extended or included. When no file has all of the path, it is the place of the longest part of it.
func (ss sources) find(path ...string) position {
	shown := pathString(path)
	best, depth := position{}, -1
	for i := len(ss) - 1; i >= 0; i-- {
		s := ss[i]
		for j := len(s.docs) - 1; j >= 0; j-- {
			node, found := descend(s.docs[j], path)
			if found > depth || (found == depth && s.main) {
				best, depth = s.at(node, shown), found
			}
			if found == len(path) && s.main {
				return best
			}
		}
	}
	return best
}

// descend follows path from n as far as it goes, and says how many steps that were. The node is that of the key, so
// that the line is where a reader looks.
func descend(n *yaml.Node, path []string) (*yaml.Node, int) {
	place := n
	for depth, step := range path {
		key, value := child(n, step)
		if value == nil {
			return place, depth
		}
		n, place = value, key
	}
	return place, len(path)
}

// child is the entry of n called step: a key of a mapping, or of a list the item with that index or that text.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	n = resolve(n)
	if n == nil {
		return nil, nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		for k, v := range pairs(n) {
			if k.Value == step {
				return k, v
			}
		}
	case yaml.SequenceNode:
		return item(n, step)
	}
	return nil, nil
}

// item finds a step in a list. Lists stand for mappings in many places of Compose (environment, depends_on, secrets).
func item(n *yaml.Node, step string) (key, value *yaml.Node) {
	if i, err := strconv.Atoi(step); err == nil {
		if i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		return nil, nil
	}
	for _, one := range n.Content {
		one = resolve(one)
		if one.Kind == yaml.ScalarNode {
			if rest, ok := strings.CutPrefix(one.Value, step); ok && (rest == "" || rest[0] == '=' || rest[0] == ':') {
				return one, one
			}
			continue
		}
		for k, v := range pairs(one) {
			if (k.Value == "source" || k.Value == "target" || k.Value == "path") && v.Value == step {
				return v, one
			}
		}
	}
	return nil, nil
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// pairs are the entries of a mapping, those of its merge keys (<<) after its own. An own key hides a merged one.
func pairs(n *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		eachPair(n, map[string]bool{}, map[*yaml.Node]bool{}, yield)
	}
}

// eachPair looks at each mapping once: merge keys of merge keys can name one a billion times.
func eachPair(n *yaml.Node, seen map[string]bool, done map[*yaml.Node]bool, yield func(k, v *yaml.Node) bool) bool {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode || done[n] {
		return true
	}
	done[n] = true
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == "<<" && k.Style == 0 {
			merged = append(merged, v)
			continue
		}
		if seen[k.Value] {
			continue
		}
		seen[k.Value] = true
		if !yield(k, v) {
			return false
		}
	}
	for _, m := range merged {
		m = resolve(m)
		if m.Kind == yaml.SequenceNode {
			for _, one := range m.Content {
				if !eachPair(one, seen, done, yield) {
					return false
				}
			}
			continue
		}
		if !eachPair(m, seen, done, yield) {
			return false
		}
	}
	return true
}

// pathString writes a path as services.web.ports[0].
func pathString(path []string) string {
	var b strings.Builder
	for _, step := range path {
		if _, err := strconv.Atoi(step); err == nil && b.Len() > 0 {
			fmt.Fprintf(&b, "[%s]", step)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(step)
	}
	return b.String()
}

// descendFirst is the entry at a path in the first file that has all of it.
func descendFirst(ss sources, path ...string) (key, value *yaml.Node) {
	for _, s := range ss {
		for _, doc := range s.docs {
			value := doc
			var key *yaml.Node
			for _, step := range path {
				if key, value = child(value, step); value == nil {
					break
				}
			}
			if value != nil {
				return key, resolve(value)
			}
		}
	}
	return nil, nil
}

// readable is the content of the file without its bad values. The file itself is handed on when it has none, so that
// compose-go sees what the user wrote.
func (s *source) readable() []byte {
	if len(s.bad) == 0 {
		return s.content
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	for _, doc := range s.docs {
		if err := encoder.Encode(s.without(doc)); err != nil {
			return s.content
		}
	}
	if err := encoder.Close(); err != nil {
		return s.content
	}
	return out.Bytes()
}

// without copies a tree and leaves out what is bad. Aliases are written out.
func (s *source) without(n *yaml.Node) *yaml.Node {
	n = resolve(n)
	c := *n
	c.Anchor, c.Content = "", nil
	switch n.Kind {
	case yaml.MappingNode:
		for k, v := range pairs(n) {
			if !s.bad[k] && !s.bad[resolve(v)] {
				key := *k
				key.Anchor = ""
				c.Content = append(c.Content, &key, s.without(v))
			}
		}
	case yaml.SequenceNode:
		for _, one := range n.Content {
			if !s.bad[resolve(one)] {
				c.Content = append(c.Content, s.without(one))
			}
		}
	}
	return &c
}
