package chart

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// tree is an object as YAML knows it. Where a value of the chart's user belongs, a raw or a block stands in it.
type tree = map[string]any

// raw is template text in the place of a scalar, as "{{ .Values.web.replicas }}".
type raw string

// block writes a whole entry of a mapping itself. indent is the column at which its key stands; what it returns is
// whole lines, or nothing.
type block func(key string, indent int) (string, error)

// merged is the key of a block that adds entries to the mapping it stands in. It sorts behind all others.
const merged = "~"

// hole is what stands in the YAML until raw texts and blocks are filled in.
const hole = "perch0hole%dx"

var (
	holePattern  = regexp.MustCompile(`perch0hole(\d+)x`)
	blockPattern = regexp.MustCompile(`^( *)("?[^ "]+"?): perch0hole\d+x$`)
)

// text is a tree as a template that prints it: in the order in which people write objects, with braces in values kept
// from being taken for templates.
func text(t any) (string, error) {
	w := &filler{}
	n, err := w.node(t)
	if err != nil {
		return "", err
	}
	data, err := encode(n)
	if err != nil {
		return "", err
	}
	return w.fill(string(escape(data)))
}

// plain is a tree without raw texts and blocks as YAML.
func plain(t any) (string, error) {
	n, err := new(filler).node(t)
	if err != nil {
		return "", err
	}
	data, err := encode(n)
	return string(data), err
}

func encode(n *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// filler makes YAML nodes of a tree and keeps what is to be filled in.
type filler struct{ holes []any }

func (w *filler) node(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case raw, block:
		w.holes = append(w.holes, v)
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprintf(hole, len(w.holes)-1)}, nil
	case tree:
		return w.mapping(v)
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, one := range v {
			child, err := w.node(one)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case json.Number:
		return scalar(number(v))
	}
	return scalar(v)
}

func (w *filler) mapping(m tree) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	if len(m) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, key := range orderedKeys(m) {
		name, err := scalar(key)
		if err != nil {
			return nil, err
		}
		value, err := w.node(m[key])
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, name, value)
	}
	return n, nil
}

func scalar(v any) (*yaml.Node, error) {
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		return nil, err
	}
	return n, nil
}

// number is a JSON number as Go has it, whole where it is.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}

// orderedKeys are the keys of a mapping as people write them: what a thing is before what it has.
func orderedKeys(m tree) []string {
	first := []string{"apiVersion", "kind", "metadata", "name", "image"}
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	keys := sortedKeys(m)
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return keys
}

// fill puts raw texts and blocks where their holes are.
func (w *filler) fill(yaml string) (string, error) {
	if len(w.holes) == 0 {
		return yaml, nil
	}
	var out strings.Builder
	for line := range strings.Lines(yaml) {
		if m := blockPattern.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			if b, ok := w.holes[holeOf(line)].(block); ok {
				text, err := b(m[2], len(m[1]))
				if err != nil {
					return "", err
				}
				out.WriteString(text)
				continue
			}
		}
		out.WriteString(holePattern.ReplaceAllStringFunc(line, func(found string) string {
			r, ok := w.holes[holeOf(found)].(raw)
			if !ok {
				panic(fmt.Sprintf("chart: a block stands where no entry of a mapping begins: %q", line))
			}
			return string(r)
		}))
	}
	return out.String(), nil
}

func holeOf(line string) int {
	n, err := strconv.Atoi(holePattern.FindStringSubmatch(line)[1])
	if err != nil {
		panic("chart: " + err.Error()) // the pattern has digits only
	}
	return n
}

// lines are template lines at an indent, each with its newline.
func lines(indent int, all ...string) string {
	var out strings.Builder
	for _, line := range all {
		out.WriteString(strings.Repeat(" ", indent) + line + "\n")
	}
	return out.String()
}

// indented moves every line of a text to the right.
func indented(text string, by int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			out.WriteString(strings.Repeat(" ", by))
		}
		out.WriteString(line)
	}
	return out.String()
}

// given is a value of any kind that is always there.
func given(path string) block {
	return func(key string, indent int) (string, error) {
		return lines(indent, key+":") + lines(indent+2, fmt.Sprintf("{{- toYaml %s | nindent %d }}", path, indent+2)), nil
	}
}

// wanted is a value that is left out when it is empty.
func wanted(path string) block {
	return func(key string, indent int) (string, error) {
		return lines(indent, "{{- with "+path+" }}", key+":") +
			lines(indent+2, fmt.Sprintf("{{- toYaml . | nindent %d }}", indent+2)) + lines(indent, "{{- end }}"), nil
	}
}

const quoteIt = "{{ . | quote }}"

// wantedScalar is the same for a value of one word, which how prints.
func wantedScalar(path, how string) block {
	return func(key string, indent int) (string, error) {
		return lines(indent, "{{- with "+path+" }}", key+": "+how, "{{- end }}"), nil
	}
}

// instead is a value that replaces what the chart has.
func instead(path string, own any) block {
	return func(key string, indent int) (string, error) {
		inner, err := text(own)
		if err != nil {
			return "", err
		}
		return lines(indent, "{{- if "+path+" }}", key+":") +
			lines(indent+2, fmt.Sprintf("{{- toYaml %s | nindent %d }}", path, indent+2)) +
			lines(indent, "{{- else }}", key+":") + indented(inner, indent+2) + lines(indent, "{{- end }}"), nil
	}
}

// added puts the entries that a template prints among those of the mapping it stands in.
func added(expression string) block {
	return func(_ string, indent int) (string, error) {
		return lines(indent, fmt.Sprintf("{{- %s | nindent %d }}", expression, indent)), nil
	}
}

// addedWhen is the same for a value that may be empty.
func addedWhen(path string) block {
	return func(_ string, indent int) (string, error) {
		return lines(indent, "{{- with "+path+" }}", fmt.Sprintf("{{- toYaml . | nindent %d }}", indent), "{{- end }}"), nil
	}
}
