package chart

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// entry is one entry of values.yaml, with what values.schema.json says of it.
type entry struct {
	key, comment string
	value        any // with fields nil: what it is when the user says nothing
	fields       []*entry
	open         bool // the user may add fields of the same kind
	number       int  // least value, of integers
}

// field is the entry of that name in a mapping, made when it is not there.
func (e *entry) field(key string) *entry {
	for _, f := range e.fields {
		if f.key == key {
			return f
		}
	}
	f := &entry{key: key}
	e.fields = append(e.fields, f)
	return f
}

// at is the entry of a path as "web.migration".
func (e *entry) at(path string) *entry {
	for key := range strings.SplitSeq(path, ".") {
		e = e.field(key)
	}
	return e
}

// has tells whether the mapping has the field.
func (e *entry) has(key string) bool {
	return slices.ContainsFunc(e.fields, func(f *entry) bool { return f.key == key })
}

// set gives the field a value, unless it has one.
func (e *entry) set(key string, value any, comment string) *entry {
	if e.has(key) {
		return e.field(key)
	}
	f := e.field(key)
	f.value, f.comment = value, comment
	return f
}

// fieldOrder is the order in which people look for things in a part of values.yaml.
func fieldOrder() []string {
	return []string{
		"image", "replicas", "resources", "env", "secretEnv", "existingSecret", "schedule", "suspend", "service", "ingress", "gateway", "autoscaling",
		"migration", "podAnnotations", "podLabels", "nodeSelector", "tolerations", "affinity",
		"enabled", "repository", "tag", "digest", "pullPolicy",
	}
}

// sort puts the fields of the entries below the top into that order.
func (e *entry) sort() {
	order := fieldOrder()
	for _, f := range e.fields {
		slices.SortStableFunc(f.fields, func(a, b *entry) int { return place(order, a.key) - place(order, b.key) })
		f.sort()
	}
}

func place(order []string, key string) int {
	if i := slices.Index(order, key); i >= 0 {
		return i
	}
	return len(order)
}

// yaml is the entry as a node, with its comments.
func (e *entry) yaml() (*yaml.Node, error) {
	if e.fields == nil {
		return new(filler).node(e.value)
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range e.fields {
		key, err := scalar(f.key)
		if err != nil {
			return nil, err
		}
		key.HeadComment = f.comment
		value, err := f.yaml()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, value)
	}
	return n, nil
}

// file is values.yaml.
func (e *entry) file(head string) ([]byte, error) {
	n, err := e.yaml()
	if err != nil {
		return nil, err
	}
	data, err := encode(n)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	out.WriteString(head + "\n")
	for line := range strings.Lines(string(data)) {
		// The parts of services stand apart.
		if line[0] != ' ' && line[0] != '#' && strings.HasSuffix(line, ":\n") || line[0] == '#' {
			if !strings.HasSuffix(out.String(), "\n\n") && !lastIsComment(out.String()) {
				out.WriteString("\n")
			}
		}
		out.WriteString(line)
	}
	return []byte(out.String()), nil
}

func lastIsComment(text string) bool {
	last := text[strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')+1:]
	return strings.HasPrefix(last, "#")
}

// schema is what a value must be.
func (e *entry) schema() tree {
	s := tree{}
	if e.comment != "" {
		s["description"] = strings.ReplaceAll(e.comment, "\n", " ")
	}
	if e.fields != nil || e.open {
		properties := tree{}
		for _, f := range e.fields {
			properties[f.key] = f.schema()
		}
		s["type"] = "object"
		if len(properties) > 0 {
			s["properties"] = properties
		}
		s["additionalProperties"] = false
		if e.open {
			s["additionalProperties"] = tree{"type": "string"}
		}
		return s
	}
	switch e.value.(type) {
	case string:
		s["type"] = "string"
	case bool:
		s["type"] = "boolean"
	case int64, json.Number:
		s["type"] = "integer"
		s["minimum"] = e.number
	case []any:
		s["type"] = "array"
	case tree:
		s["type"] = "object"
	}
	return s
}

// schemaFile is values.schema.json.
func (e *entry) schemaFile() ([]byte, error) {
	s := e.schema()
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	properties, ok := s["properties"].(tree)
	if ok {
		properties["global"] = tree{"type": "object"} // a chart that has this one as a part may set it
	}
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}
