package migrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// writer makes and changes nodes.
type writer struct {
	moves map[string]string // of the kind
	taken map[string]subtree
}

// subtree is something that moves, with its old form.
type subtree struct {
	node *yaml.Node
	tree any
}

func below(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// edit changes a mapping from what the old version writes to what the new one does. What neither mentions stays.
func (w *writer) edit(n *yaml.Node, path string, before, after map[string]any) {
	added := w.added(n, path, before, after)
	var gone []int
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		b, was := before[key]
		a, is := after[key]
		switch {
		case !was && !is, equal(a, b) && was == is:
		case !is:
			gone = append(gone, i)
		default:
			n.Content[i+1] = w.edited(n.Content[i+1], below(path, key), b, a)
		}
	}
	added.comment(commentsOf(n, slices.DeleteFunc(slices.Clone(gone), func(i int) bool { return leftOut(below(path, n.Content[i].Value)) })))
	at := len(n.Content)
	for _, i := range slices.Backward(gone) {
		n.Content = slices.Delete(n.Content, i, i+2)
		at = i
	}
	n.Content = slices.Insert(n.Content, at, added.nodes...)
}

// edited is a value after its change.
func (w *writer) edited(n *yaml.Node, path string, before, after any) *yaml.Node {
	if a, is := after.(map[string]any); is && n.Kind == yaml.MappingNode {
		b, _ := before.(map[string]any)
		w.edit(n, path, b, a)
		return n
	}
	a, is := after.([]any)
	b, was := before.([]any)
	if is && was && len(a) == len(b) && n.Kind == yaml.SequenceNode && len(n.Content) == len(a) {
		for i := range a {
			if !equal(a[i], b[i]) {
				n.Content[i] = w.edited(n.Content[i], path+"[]", b[i], a[i])
			}
		}
		return n
	}
	now := w.node(path, after)
	now.LineComment, now.HeadComment, now.FootComment = n.LineComment, n.HeadComment, n.FootComment
	if now.Kind == yaml.ScalarNode && n.Kind == yaml.ScalarNode && now.Tag == n.Tag {
		now.Style = n.Style
	}
	return now
}

// additions are new pairs of a mapping.
type additions struct {
	keys  []string
	nodes []*yaml.Node // key and value in turn
}

// node is the pairs as a mapping, nil when there are none.
func (a additions) node() *yaml.Node {
	if len(a.nodes) == 0 {
		return nil
	}
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: a.nodes}
}

// comment puts the comments of what went before what came instead.
func (a additions) comment(text string) {
	if len(a.nodes) > 0 && text != "" {
		a.nodes[0].HeadComment = text
	}
}

// added are the pairs that after has and the mapping has not.
func (w *writer) added(n *yaml.Node, path string, before, after map[string]any) additions {
	var a additions
	for _, key := range ordered(after) {
		value := after[key]
		b, was := before[key]
		if indexOf(n, key) >= 0 || was && equal(b, value) || hollow(value) {
			continue
		}
		a.keys = append(a.keys, key)
		a.nodes = append(a.nodes, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, w.node(below(path, key), value))
	}
	return a
}

// take remembers what will move, before it is gone from its place.
func (w *writer) take(root *yaml.Node, before map[string]any) {
	w.taken = map[string]subtree{}
	for to, from := range w.moves {
		n, keys := root, strings.Split(from, ".")
		for _, key := range keys {
			n = valueOf(n, key)
		}
		if n.Kind != 0 {
			w.taken[to] = subtree{clone(n), valueAt(before, keys...)}
		}
	}
}

// node is a value as a node.
func (w *writer) node(path string, value any) *yaml.Node {
	if s, ok := w.taken[path]; ok {
		return w.edited(clone(s.node), path, s.tree, value)
	}
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range ordered(v) {
			if v[key] == nil || v[key] == "" {
				continue // what Go types write for nothing
			}
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, w.node(below(path, key), v[key]))
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, one := range v {
			n.Content = append(n.Content, w.node(path+"[]", one))
		}
		return n
	}
	n := &yaml.Node{}
	_ = n.Encode(value) // a string, a number or a boolean
	if value == int64(math.MaxInt32) {
		n.LineComment = noLimit
	}
	return n
}

// noLimit explains the largest number, which is how the old versions spelled that nothing was said.
const noLimit = "# no limit"

// unexplained takes our comments out of flow style, where they would break the line.
func unexplained(n *yaml.Node, flow bool) {
	flow = flow || n.Style&yaml.FlowStyle != 0
	if flow && n.LineComment == noLimit {
		n.LineComment = ""
	}
	for _, c := range n.Content {
		unexplained(c, flow)
	}
}

// ordered are the keys of a map, those first that say what it is about.
func ordered(m map[string]any) []string {
	first := []string{"apiVersion", "kind", "name", "key", "type"}
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
}

// commentsOf are the comments in the pairs at these places, as lines.
func commentsOf(n *yaml.Node, pairs []int) string {
	var lines []string
	for _, i := range pairs {
		for _, c := range n.Content[i : i+2] {
			lines = append(lines, comments(c, c == n.Content[i])...)
		}
	}
	return strings.Join(lines, "\n")
}

// comments are all comments in a node. The head comment of a key that goes stays in the file, above what comes instead.
func comments(n *yaml.Node, key bool) []string {
	var lines []string
	for i, text := range []string{n.HeadComment, n.LineComment} {
		if text != "" && !(key && i == 0) {
			lines = append(lines, text)
		}
	}
	for _, c := range n.Content {
		lines = append(lines, comments(c, false)...)
	}
	return lines
}

// form is how a file is laid out.
type form struct {
	indent  int  // of a mapping in a mapping
	compact bool // the dashes of a list stand below the first letter of its key
}

// formOf is how the first mapping and the first list in a node are laid out; otherwise where there is none.
func formOf(n *yaml.Node, otherwise form) form {
	f, listed := form{compact: otherwise.compact}, false
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		for i, c := range n.Content {
			value := n.Kind == yaml.MappingNode && i%2 == 1 && c.Style&yaml.FlowStyle == 0
			if value && c.Kind == yaml.MappingNode && f.indent == 0 && c.Column > n.Column {
				f.indent = c.Column - n.Column
			}
			if value && c.Kind == yaml.SequenceNode && !listed {
				f.compact, listed = c.Column <= n.Column, true
			}
			look(c)
		}
	}
	look(n)
	if f.indent == 0 {
		f.indent = otherwise.indent
	}
	f.indent = min(max(f.indent, 2), 8) // what the encoder can do
	return f
}

func encode(n *yaml.Node, f form) (string, error) {
	unexplained(n, false)
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(f.indent), yaml.WithCompactSeqIndent(f.compact), yaml.WithLineWidth(-1))
	if err != nil {
		return "", err
	}
	if err := d.Dump(n); err != nil {
		return "", err
	}
	if err := d.Close(); err != nil {
		return "", err
	}
	return b.String(), nil
}

func isJSON(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(text), "{") && json.Valid([]byte(text))
}

// writeJSON writes a document as JSON, indented as it was.
func writeJSON(root *yaml.Node, was string) (string, error) {
	var b, out bytes.Buffer
	if err := appendJSON(&b, root); err != nil {
		return "", err
	}
	_, second, lines := strings.Cut(strings.TrimSpace(was), "\n")
	if !lines {
		b.WriteByte('\n')
		return b.String(), nil
	}
	indent := second[:len(second)-len(strings.TrimLeft(second, " \t"))]
	if err := json.Indent(&out, b.Bytes(), "", indent); err != nil {
		return "", err
	}
	out.WriteByte('\n')
	return out.String(), nil
}

func appendJSON(b *bytes.Buffer, n *yaml.Node) error {
	open, end := byte('{'), byte('}')
	switch n.Kind {
	case yaml.ScalarNode:
		return appendScalar(b, n)
	case yaml.SequenceNode:
		open, end = '[', ']'
	}
	b.WriteByte(open)
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 1:
			b.WriteByte(':')
		case i > 0:
			b.WriteByte(',')
		}
		if err := appendJSON(b, c); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}

func appendScalar(b *bytes.Buffer, n *yaml.Node) error {
	if n.Tag != "!!str" {
		b.WriteString(n.Value) // numbers, booleans and null are spelled alike
		return nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(n.Value); err != nil {
		return err
	}
	b.WriteString(strings.TrimSuffix(text.String(), "\n"))
	return nil
}
