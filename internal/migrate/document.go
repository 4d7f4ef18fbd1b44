package migrate

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/json"
	sigs "sigs.k8s.io/yaml"
)

// segment is one document of a file as text, with the --- line that begins it.
type segment struct {
	line int // its first line in the file, from 1
	text string
}

// split cuts a file at its --- lines, as kubectl does. The texts joined are the file.
func split(text string) []segment {
	var list []segment
	next := segment{line: 1}
	line := 1
	for l := range strings.Lines(text) {
		if separates(l) && next.text != "" {
			list = append(list, next)
			next = segment{line: line}
		}
		next.text += l
		line++
	}
	return append(list, next)
}

func separates(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	return ok && strings.TrimLeft(rest, " \t\r\n") != rest || rest == ""
}

// document is a segment that was read.
type document struct {
	segment
	root *yaml.Node     // its mapping, for positions and comments; nil when there is no object in it
	tree map[string]any // as Kubernetes reads it
}

const templateHint = "render it first: helm template CHART | perch migrate-manifests -"

var atLine = regexp.MustCompile(`line (\d+)(?:, column \d+)?: `)

func (s segment) parse() (document, error) {
	d := document{segment: s}
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(s.text), &node); err != nil {
		return d, s.unreadable(err)
	}
	if len(node.Content) == 0 || node.Content[0].Kind != yaml.MappingNode {
		return d, nil // nothing, or no object
	}
	if err := s.twice(node.Content[0]); err != nil {
		return d, err
	}
	data, err := sigs.YAMLToJSON([]byte(s.text)) // kubectl's own reader: yes is true
	if err == nil {
		err = json.Unmarshal(data, &d.tree)
	}
	if err != nil {
		return d, s.unreadable(err)
	}
	if text := d.templated(); text != "" {
		return d, s.template(text)
	}
	d.root = node.Content[0]
	return d, nil
}

// twice refuses a key that is there again: kubectl would take the last one without a word.
func (s segment) twice(n *yaml.Node) error {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if first := n.Content[indexOf(n, c.Value)]; first != c {
				return lineError{line: s.line + c.Line - 1, text: fmt.Sprintf("%q is here again, after line %d", c.Value, s.line+first.Line-1), hint: "remove one of them"}
			}
		}
		if err := s.twice(c); err != nil {
			return err
		}
	}
	return nil
}

// unreadable gives a parser's error the line in the file, and says what it is when it is a template.
func (s segment) unreadable(err error) error {
	message, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
	e := lineError{line: s.line, text: "this is no YAML: " + atLine.ReplaceAllString(message, "")}
	if m := atLine.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			e.line += n - 1
		}
	}
	if strings.Contains(s.text, "{{") {
		return s.template("{{")
	}
	return e
}

// template is the mistake that a template was given; the first line with that text shows it.
func (s segment) template(text string) error {
	e := lineError{line: s.line, text: "it is a template of Helm", hint: templateHint}
	for i, line := range strings.Split(s.text, "\n") {
		if strings.Contains(line, text) {
			e.line, e.text = s.line+i, "it is a template of Helm: "+strings.TrimSpace(line)
			break
		}
	}
	return e
}

// templated is a value that Helm fills in, in a place where Kubernetes would never take it as it stands: elsewhere {{ may be
// meant, as in the arguments of a program.
func (d document) templated() string {
	metadata, _ := d.tree["metadata"].(map[string]any)
	for _, v := range []any{d.tree["apiVersion"], d.tree["kind"], metadata["name"], metadata["namespace"]} {
		if text, ok := v.(string); ok && strings.Contains(text, "{{") {
			return text
		}
	}
	return ""
}

// object is one Kubernetes object in a document.
type object struct {
	document *document
	path     []any // from the root: none, or "items" and an index
	node     *yaml.Node
	tree     map[string]any
}

// objects are the document's object, or those of its List.
func (d *document) objects() []object {
	if d.root == nil {
		return nil
	}
	apiVersion, kind := stringOf(d.tree["apiVersion"]), stringOf(d.tree["kind"])
	items, isList := d.tree["items"].([]any)
	switch {
	case apiVersion == "" || kind == "":
		return nil
	case !isList || apiVersion != "v1" || kind != "List":
		return []object{{document: d, node: d.root, tree: d.tree}}
	}
	nodes := valueOf(d.root, "items")
	var list []object
	for i, item := range items {
		tree, ok := item.(map[string]any)
		if ok && nodes.Kind == yaml.SequenceNode {
			list = append(list, object{document: d, path: []any{"items", i}, node: resolved(nodes.Content[i]), tree: tree})
		}
	}
	return list
}

func stringOf(v any) string {
	s, _ := v.(string)
	return s
}

// title is the object for people: "Deployment web".
func (o object) title() string {
	metadata, _ := o.tree["metadata"].(map[string]any)
	name := stringOf(metadata["name"])
	if name == "" {
		name = stringOf(metadata["generateName"])
	}
	return strings.TrimSpace(stringOf(o.tree["kind"]) + " " + name)
}

var steps = regexp.MustCompile(`[^.\[\]]+|\[[^\]]*\]`)

// line is where a field of the object is in the file, or the nearest thing around it that is there. The path is as Kubernetes
// writes it: spec.template.metadata.annotations[a.b/c], spec.rules[0].
func (o object) line(path string) int {
	node, line := o.node, o.node.Line
	for _, step := range steps.FindAllString(path, -1) {
		node = resolved(node)
		inner, bracketed := strings.CutPrefix(step, "[")
		step = strings.TrimSuffix(inner, "]")
		next := (*yaml.Node)(nil)
		switch {
		case node.Kind == yaml.MappingNode:
			if i := indexOf(node, step); i >= 0 {
				line, next = node.Content[i].Line, node.Content[i+1]
			}
		case node.Kind == yaml.SequenceNode && bracketed:
			if i, err := strconv.Atoi(step); err == nil && i < len(node.Content) {
				next = node.Content[i]
				line = next.Line
			}
		}
		if next == nil {
			break
		}
		node = next
	}
	return o.document.line(line)
}

// line is the line in the file of one in the document.
func (d *document) line(n int) int { return d.segment.line + n - 1 }

// resolved is the node that an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// indexOf is the place of a key in a mapping's content, -1 when it is not there.
func indexOf(mapping *yaml.Node, key string) int {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// valueOf is the value of a key of a mapping, an empty node when it is not there.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	if i := indexOf(mapping, key); i >= 0 {
		return resolved(mapping.Content[i+1])
	}
	return &yaml.Node{}
}
