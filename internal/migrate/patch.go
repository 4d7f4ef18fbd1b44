package migrate

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// patcher changes lines of a document, by the positions of its nodes.
type patcher struct {
	writer
	lines   []string // without their ends
	ending  string
	form    form
	patches []patch
}

// patch replaces the lines from (counted from 0) up to but not including to.
type patch struct {
	from, to int
	lines    []string
}

func newPatcher(d document) *patcher {
	p := &patcher{ending: "\n", form: formOf(d.root, form{indent: 2, compact: true})}
	text := d.segment.text
	if strings.Contains(text, "\r\n") {
		p.ending = "\r\n"
	}
	text = strings.TrimSuffix(text, p.ending)
	p.lines = strings.Split(text, p.ending)
	return p
}

// text is the document with all patches.
func (p *patcher) text() string {
	slices.SortStableFunc(p.patches, func(a, b patch) int { return a.from - b.from })
	var out []string
	at := 0
	for _, one := range p.patches {
		out = append(out, p.lines[min(at, one.from):one.from]...)
		out = append(out, one.lines...)
		at = max(at, one.to)
	}
	out = append(out, p.lines[at:]...)
	return strings.Join(out, p.ending) + p.ending
}

// item is an item of the root's list, and the line that it ends before.
func (p *patcher) item(root *yaml.Node, i int) (node *yaml.Node, limit int, ok bool) {
	at := indexOf(root, "items")
	list := root.Content[at+1]
	if list.Style&yaml.FlowStyle != 0 || root.Style&yaml.FlowStyle != 0 {
		return nil, 0, false
	}
	return list.Content[i], p.itemLimit(list, i, p.limit(root, at, len(p.lines))), true
}

// limit is the line that the pair at i of a mapping ends before, if the mapping ends before limit.
func (p *patcher) limit(mapping *yaml.Node, i, limit int) int {
	if i+2 < len(mapping.Content) {
		return mapping.Content[i+2].Line - 1
	}
	return limit
}

func (p *patcher) itemLimit(list *yaml.Node, i, limit int) int {
	if i+1 < len(list.Content) {
		return list.Content[i+1].Line - 1
	}
	return limit
}

// end is limit without the lines before it that say nothing, or belong to what follows.
func (p *patcher) end(from, limit int) int {
	for limit > from+1 {
		line := strings.TrimSpace(p.lines[limit-1])
		if line != "" && line != "-" && line != "..." && !strings.HasPrefix(line, "#") {
			break
		}
		limit--
	}
	return limit
}

// mapping patches a mapping that ends before the line limit. It answers false when that cannot be done by lines; patches that
// it made by then are to be forgotten.
func (p *patcher) mapping(n *yaml.Node, limit int, path string, before, after map[string]any) bool {
	if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 {
		return false
	}
	var gone, lost []int
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		b, was := before[key]
		a, is := after[key]
		switch {
		case !was && !is, equal(a, b) && was == is:
		case !is && leftOut(below(path, key)):
			lost = append(lost, i)
		case !is:
			gone = append(gone, i)
		case !p.pair(n, i, limit, below(path, key), b, a):
			return false
		}
	}
	added := p.added(n, path, before, after)
	if p.shared(n) && (slices.Contains(gone, 0) || slices.Contains(lost, 0)) {
		return false // the dash before the first key would go with it
	}
	added.comment(commentsOf(n, gone))
	lines, err := p.indented(added.node(), n.Column-1, formOf(n, p.form))
	if err != nil {
		return false
	}
	for at, i := range gone {
		from := n.Content[i].Line - 1
		one := patch{from: from, to: p.end(from, p.limit(n, i, limit))}
		if at == 0 {
			one.lines = lines
		}
		p.patches = append(p.patches, one)
	}
	for _, i := range lost {
		to := p.end(n.Content[i].Line-1, p.limit(n, i, limit))
		p.patches = append(p.patches, patch{from: p.above(n.Content[i]), to: to})
	}
	if len(gone) == 0 && len(lines) > 0 {
		at := p.place(n, limit, added.keys)
		p.patches = append(p.patches, patch{from: at, to: at, lines: lines})
	}
	return true
}

// shared tells of a mapping whose first key stands behind a dash.
func (p *patcher) shared(n *yaml.Node) bool {
	return len(n.Content) > 0 && strings.TrimSpace(p.lines[n.Content[0].Line-1][:n.Content[0].Column-1]) != ""
}

// above is the first of the comment lines right above a key that are the key's.
func (p *patcher) above(key *yaml.Node) int {
	at := key.Line - 1
	for at > 0 {
		line := strings.TrimSpace(p.lines[at-1])
		if !strings.HasPrefix(line, "#") || !strings.Contains(key.HeadComment, line) {
			break
		}
		at--
	}
	return at
}

// place is the line before which new keys of a mapping go: before a template, which is long; behind a path, which pathType is
// about; else at the end.
func (p *patcher) place(n *yaml.Node, limit int, keys []string) int {
	behind := len(n.Content) - 2
	if i := indexOf(n, "template"); i > 0 {
		behind = i - 2
	}
	if i := indexOf(n, "path"); i >= 0 && slices.Equal(keys, []string{"pathType"}) {
		behind = i
	}
	return p.end(n.Content[behind].Line-1, p.limit(n, behind, limit))
}

// pair changes the value of a pair in its lines, or writes the pair anew.
func (p *patcher) pair(n *yaml.Node, i, limit int, path string, before, after any) bool {
	limit = p.limit(n, i, limit)
	made := len(p.patches)
	if p.value(n.Content[i], n.Content[i+1], limit, path, before, after) {
		return true
	}
	p.patches = p.patches[:made]
	key, value := clone(n.Content[i]), clone(n.Content[i+1])
	key.HeadComment, key.FootComment = "", "" // these lines stay
	if len(value.Content) == 0 {
		value.Style &^= yaml.FlowStyle // {} is written so for want of another way
	}
	value = p.edited(value, path, before, after)
	lines, err := p.indented(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, value}}, key.Column-1, formOf(n, p.form))
	if err != nil {
		return false
	}
	from := key.Line - 1
	lines[0] = p.lines[from][:key.Column-1] + strings.TrimLeft(lines[0], " ") // it may stand behind a dash
	p.patches = append(p.patches, patch{from: from, to: p.end(from, limit), lines: lines})
	return true
}

func (p *patcher) value(key, value *yaml.Node, limit int, path string, before, after any) bool {
	switch value.Kind {
	case yaml.MappingNode:
		b, was := before.(map[string]any)
		a, is := after.(map[string]any)
		return was && is && p.mapping(value, limit, path, b, a)
	case yaml.SequenceNode:
		b, was := before.([]any)
		a, is := after.([]any)
		return was && is && p.list(value, limit, path, b, a)
	}
	text, ok := after.(string)
	return ok && value.Kind == yaml.ScalarNode && value.Line == key.Line && p.scalar(value, text)
}

func (p *patcher) list(n *yaml.Node, limit int, path string, before, after []any) bool {
	if len(before) != len(after) || len(before) != len(n.Content) || n.Style&yaml.FlowStyle != 0 {
		return false
	}
	for i := range before {
		if equal(before[i], after[i]) {
			continue
		}
		b, was := before[i].(map[string]any)
		a, is := after[i].(map[string]any)
		if !was || !is || !p.mapping(n.Content[i], p.itemLimit(n, i, limit), path+"[]", b, a) {
			return false
		}
	}
	return true
}

// scalar replaces a word in its line.
func (p *patcher) scalar(n *yaml.Node, text string) bool {
	line := p.lines[n.Line-1]
	head, tail := line[:n.Column-1], line[n.Column-1:]
	for _, quote := range []string{"", `"`, `'`} {
		rest, ok := strings.CutPrefix(tail, quote+n.Value+quote)
		if !ok || quote == "" && !plain(text) {
			continue
		}
		p.patches = append(p.patches, patch{from: n.Line - 1, to: n.Line, lines: []string{head + quote + text + quote + rest}})
		return true
	}
	return false
}

// plain tells of a text that needs no quotes: versions and names are such.
func plain(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./-") == "" &&
		strings.ContainsAny(text, "abcdefghijklmnopqrstuvwxyz")
}

// indented encodes a mapping and moves it to the right.
func (p *patcher) indented(n *yaml.Node, by int, f form) ([]string, error) {
	if n == nil {
		return nil, nil
	}
	text, err := encode(n, f)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", by) + line
		}
	}
	return lines, nil
}
