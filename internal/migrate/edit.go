package migrate

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// edit is what is to be changed in a document.
type edit struct {
	document document
	targets  []target
}

// target is one object of the document, as its old and its new version write it.
type target struct {
	object        object
	to            kind
	before, after map[string]any
}

// text is the document with the changes. It is patched line by line where that can be done, so that everything else stays as
// it is; otherwise (flow style, JSON, aliases) the document is written anew, with its comments and its order.
func (e edit) text() (string, error) {
	if text, ok := e.patched(); ok && e.says(text) {
		return text, nil
	}
	text, err := e.written()
	if err != nil {
		return "", err
	}
	if strings.Contains(e.document.segment.text, "\r\n") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	}
	if !e.says(text) {
		return "", errors.New("it cannot be rewritten in its form: write it in block style, without aliases, and try again")
	}
	return text, nil
}

// says tells whether a text says what is wanted of each target, and of every other object what it said before.
func (e edit) says(text string) bool {
	d, err := segment{line: 1, text: text}.parse()
	if err != nil {
		return false
	}
	objects, before := d.objects(), e.document.objects()
	if len(objects) != len(before) {
		return false
	}
	for i, o := range objects {
		t, changed := e.targetOf(before[i])
		if !changed && !equal(o.tree, before[i].tree) || changed && !same(t.to.to, o.tree, t.after) {
			return false
		}
	}
	return true
}

func (e edit) targetOf(o object) (target, bool) {
	i := slices.IndexFunc(e.targets, func(t target) bool { return slices.Equal(t.object.path, o.path) })
	if i < 0 {
		return target{}, false
	}
	return e.targets[i], true
}

// same tells whether two trees are one object to a version.
func same(as schema.GroupVersionKind, a, b map[string]any) bool {
	var trees [2]map[string]any
	for i, tree := range []map[string]any{a, b} {
		o, err := decode(schemeOf(as.Group), as, tree)
		if err != nil {
			return false
		}
		if trees[i], err = treeOf(o); err != nil {
			return false
		}
		tidy(trees[i])
	}
	return equal(trees[0], trees[1])
}

// patched is the document's text with as few lines changed as can be. ok is false when it cannot be done so.
func (e edit) patched() (text string, ok bool) {
	d := e.document
	if hasAlias(d.root) {
		return "", false
	}
	p := newPatcher(d)
	for _, t := range e.targets {
		p.moves = t.to.moves
		node, limit := d.root, len(p.lines)
		if len(t.object.path) > 0 {
			if node, limit, ok = p.item(d.root, t.object.path[1].(int)); !ok {
				return "", false
			}
		}
		p.take(node, t.before)
		if !p.mapping(node, limit, "", t.before, t.after) {
			return "", false
		}
	}
	return p.text(), true
}

// written is the document written anew.
func (e edit) written() (string, error) {
	root := clone(e.document.root)
	for _, t := range e.targets {
		node := root
		if len(t.object.path) > 0 {
			node = valueOf(root, "items").Content[t.object.path[1].(int)]
		}
		w := writer{moves: t.to.moves}
		w.take(node, t.before)
		w.edit(node, "", t.before, t.after)
	}
	head, body := "", e.document.segment.text
	if line, rest, _ := strings.Cut(body, "\n"); separates(line) {
		head, body = "---\n", strings.TrimPrefix(line, "---")+"\n"+rest
		if after := strings.TrimSpace(strings.TrimPrefix(line, "---")); after == "" || strings.HasPrefix(after, "#") {
			head, body = line+"\n", rest
		}
	}
	if isJSON(body) {
		text, err := writeJSON(root, body)
		return head + text, err
	}
	text, err := encode(root, formOf(e.document.root, form{indent: 2, compact: true}))
	return head + text, err
}

// hasAlias tells of nodes that are written in one place and meant in several.
func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Tag == "!!merge" || slices.ContainsFunc(n.Content, hasAlias)
}

// clone copies a node. Aliases become what they stand for, and merged keys are written out, since to change one of them would
// change all.
func clone(n *yaml.Node) *yaml.Node {
	n = resolved(n)
	c := *n
	c.Anchor, c.Content = "", nil
	var merged []*yaml.Node
	for i := 0; i < len(n.Content); i++ {
		if n.Kind == yaml.MappingNode && i%2 == 0 && n.Content[i].Tag == "!!merge" {
			merged = append(merged, sources(n.Content[i+1])...)
			i++
			continue
		}
		c.Content = append(c.Content, clone(n.Content[i]))
	}
	for _, m := range merged {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if indexOf(&c, m.Content[i].Value) < 0 {
				c.Content = append(c.Content, m.Content[i], m.Content[i+1])
			}
		}
	}
	return &c
}

// sources are the mappings that << names, the first counting most.
func sources(value *yaml.Node) []*yaml.Node {
	value = resolved(value)
	if value.Kind != yaml.SequenceNode {
		return []*yaml.Node{clone(value)}
	}
	var all []*yaml.Node
	for _, one := range value.Content {
		all = append(all, clone(one))
	}
	return all
}
