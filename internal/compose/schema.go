package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/schema"
	"go.yaml.in/yaml/v4"
)

// shape is one node of the JSON schema of the Compose specification, in the keywords that this schema uses. compose-go
// validates by the same schema, but tells one mistake at a time and not its line.
type shape struct {
	Ref         string            `json:"$ref"`
	Type        oneOrMany         `json:"type"`
	Properties  map[string]*shape `json:"properties"`
	Patterns    map[string]*shape `json:"patternProperties"`
	Additional  json.RawMessage   `json:"additionalProperties"`
	Unevaluated json.RawMessage   `json:"unevaluatedProperties"`
	Items       *shape            `json:"items"`
	OneOf       []*shape          `json:"oneOf"`
	AnyOf       []*shape          `json:"anyOf"`
	AllOf       []*shape          `json:"allOf"`
	Enum        []string          `json:"enum"`
	Required    []string          `json:"required"`
	Unique      bool              `json:"uniqueItems"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Pattern     string            `json:"pattern"`
	Format      string            `json:"format"`
	Defs        map[string]*shape `json:"$defs"`
}

type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*o = []string{""}
		return json.Unmarshal(data, &(*o)[0])
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// composeShape is the schema that compose-go ships. It is read once: it is a constant, and takes longer than most files.
//
//nolint:gochecknoglobals // a constant that must be parsed
var composeShape = sync.OnceValues(func() (*shape, error) {
	var root shape
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		return nil, fmt.Errorf("schema of the Compose specification: %w", err)
	}
	return &root, nil
})

// examiner walks a file along the schema: mistakes become problems, and each attribute it meets is reported to met.
type examiner struct {
	root   *shape
	source *source
	text   func(*yaml.Node) string // the value of a scalar after interpolation
	found  *findings
	met    func(attribute)
	known  map[*shape]keys           // what keys found out before
	regexp map[string]*regexp.Regexp // compiled patterns of the schema
	checks map[string]valueCheck
	bad    map[*yaml.Node]bool // values that cannot be read; the project is made without them, to check the rest
}

// attribute is an attribute of the specification where it stands in a file.
type attribute struct {
	pattern string // as schema.AttributePaths has it: services.*.ports.[].target
	path    []string
	key     *yaml.Node
	value   *yaml.Node
	source  *source
}

func (e *examiner) deref(s *shape) *shape {
	for s != nil && s.Ref != "" {
		s = e.root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	return s
}

// place is where the walk is.
type place struct {
	path    []string
	pattern string
}

func (p place) next(step, pattern string) place {
	path := append(slices.Clone(p.path), step)
	if p.pattern == "" {
		return place{path, pattern}
	}
	return place{path, p.pattern + "." + pattern}
}

func (e *examiner) document(n *yaml.Node) {
	if resolve(n).Kind != yaml.MappingNode {
		e.found.problem(e.source.at(n, ""), "a Compose file is a mapping, not "+kindName(jsonType(n)), "begin with services:")
		return
	}
	e.examine(n, e.root, place{})
}

func (e *examiner) problem(n *yaml.Node, at place, message, hint string) {
	e.bad[n] = true
	vars := e.source.vars
	e.found.problem(e.source.at(n, pathString(at.path)), vars.hide(n, subject(at.path)+message), vars.hide(n, hint))
}

func (e *examiner) examine(raw *yaml.Node, s *shape, at place) {
	n, s := resolve(raw), e.deref(s)
	if n == nil || s == nil || n.Tag == "!reset" {
		return
	}
	if !e.requiredOneOf(n, s, at) {
		return
	}
	s, wanted := e.choose(n, s)
	if s == nil {
		e.wrongType(n, wanted, at)
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		e.mapping(n, s, at)
	case yaml.SequenceNode:
		e.sequence(n, s, at)
	case yaml.ScalarNode:
		e.scalar(n, s, at)
	}
}

func (e *examiner) wrongType(n *yaml.Node, wanted []string, at place) {
	name := "this"
	if len(at.path) > 0 {
		name = at.path[len(at.path)-1]
		if _, err := strconv.Atoi(name); err == nil && len(at.path) > 1 {
			name = at.path[len(at.path)-2] + "[" + name + "]"
		}
	}
	hint := ""
	if jsonType(n) == "null" {
		hint = "write a value after the colon, or indent what belongs to it; leave the key out if there is none"
	}
	e.bad[n] = true
	owner := at.path
	if len(owner) > 0 {
		owner = owner[:len(owner)-1]
	}
	e.found.problem(e.source.at(n, pathString(at.path)),
		fmt.Sprintf("%s%s must be %s, not %s", subject(owner), name, kindNames(wanted), kindName(jsonType(n))), hint)
}

// choose is the alternative of s that fits the type of n, and nil with the types wanted when none does.
func (e *examiner) choose(n *yaml.Node, s *shape) (*shape, []string) {
	kind := jsonType(n)
	if len(s.OneOf) > 0 {
		var wanted []string
		for _, alternative := range s.OneOf {
			fits, types := e.choose(n, e.deref(alternative))
			if fits != nil {
				return fits, nil
			}
			wanted = append(wanted, types...)
		}
		return nil, wanted
	}
	if len(s.Type) == 0 {
		for _, part := range s.AllOf {
			if fits, types := e.choose(n, e.deref(part)); fits == nil {
				return nil, types
			}
		}
		return s, nil
	}
	if slices.Contains(s.Type, kind) || (kind == "integer" && slices.Contains(s.Type, "number")) {
		return s, nil
	}
	// A value that comes from a variable is cast when it is read.
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$") && !onlyContainers(s.Type) {
		return s, nil
	}
	return nil, s.Type
}

func onlyContainers(types []string) bool {
	for _, t := range types {
		if t != "object" && t != "array" {
			return false
		}
	}
	return true
}

// requiredOneOf handles anyOf, which this schema uses only to say that one of several keys must be there.
func (e *examiner) requiredOneOf(n *yaml.Node, s *shape, at place) bool {
	if len(s.AnyOf) == 0 || e.source.override || n.Kind != yaml.MappingNode {
		return true
	}
	var names []string
	for _, alternative := range s.AnyOf {
		if hasAll(n, alternative.Required) {
			return true
		}
		names = append(names, alternative.Required...)
	}
	e.problem(n, at, "one of "+quoted(names)+" is needed", "")
	return false
}

func hasAll(n *yaml.Node, names []string) bool {
	for _, name := range names {
		if _, v := child(n, name); v == nil {
			return false
		}
	}
	return true
}

// keys are all properties and patterns that s allows by itself and through allOf, and whether no others are.
type keys struct {
	properties map[string]*shape
	patterns   map[string]*shape
	additional *shape
	required   []string
	closed     bool
}

func (e *examiner) keys(s *shape) keys {
	if k, ok := e.known[s]; ok {
		return k
	}
	k := e.collect(s)
	e.known[s] = k
	return k
}

func (e *examiner) collect(s *shape) keys {
	k := keys{properties: map[string]*shape{}, patterns: map[string]*shape{}, required: s.Required}
	for _, part := range s.AllOf {
		inherited := e.keys(e.deref(part))
		maps.Copy(k.properties, inherited.properties)
		maps.Copy(k.patterns, inherited.patterns)
		k.required = append(k.required, inherited.required...)
	}
	maps.Copy(k.properties, s.Properties)
	maps.Copy(k.patterns, s.Patterns)
	switch {
	case string(s.Additional) == "false", string(s.Unevaluated) == "false":
		k.closed = true
	case len(s.Additional) > 0 && s.Additional[0] == '{':
		k.additional = new(shape)
		_ = json.Unmarshal(s.Additional, k.additional) // it was parsed as a part of the whole
	}
	return k
}

// find is the shape of the value of a key, and the step of its pattern path; nil when the key is not known.
func (e *examiner) find(k keys, name string) (*shape, string) {
	if s, ok := k.properties[name]; ok {
		return s, name
	}
	for _, pattern := range slices.Sorted(maps.Keys(k.patterns)) {
		if e.matches(pattern, name) {
			if pattern == "^x-" {
				return new(shape), ""
			}
			return k.patterns[pattern], "*"
		}
	}
	if k.additional != nil {
		return k.additional, "*"
	}
	return nil, ""
}

func (e *examiner) mapping(n *yaml.Node, s *shape, at place) {
	k := e.keys(s)
	e.duplicates(n, at)
	e.longForm(n, at)
	for key, value := range pairs(n) {
		found, step := e.find(k, key.Value)
		switch {
		case found == nil && k.closed:
			message, hint := unknownKey(key.Value, slices.Sorted(maps.Keys(k.properties)), len(k.patterns))
			if elsewhere := belongs(at.pattern, key.Value); elsewhere != "" {
				hint = elsewhere
			}
			e.problem(key, at, message, hint)
		case found == nil || step == "":
		default:
			next := at.next(key.Value, step)
			if step != "*" || len(at.path) == 0 {
				e.met(attribute{next.pattern, next.path, key, value, e.source})
			}
			e.examine(value, found, next)
		}
	}
	if e.source.override || e.source.services != nil {
		return // what is missing here may be in the file that it overrides or is extended by
	}
	for _, name := range k.required {
		if _, v := child(n, name); v == nil {
			e.problem(n, at, fmt.Sprintf("%q is missing", name), "")
		}
	}
}

// matches tells whether text has a match of a pattern of the schema.
func (e *examiner) matches(pattern, text string) bool {
	compiled, ok := e.regexp[pattern]
	if !ok {
		compiled = regexp.MustCompile(pattern) // TestSchemaIsUnderstood compiles them all
		e.regexp[pattern] = compiled
	}
	return compiled.MatchString(text)
}

func (e *examiner) duplicates(n *yaml.Node, at place) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if first, twice := lines[key.Value]; twice && key.Value != "<<" {
			e.problem(key, at, fmt.Sprintf("key %q is there twice, first on line %d", key.Value, first), "keep one of them")
			continue
		}
		lines[key.Value] = key.Line
	}
}

func (e *examiner) sequence(n *yaml.Node, s *shape, at place) {
	seen := map[string]int{}
	for i, one := range n.Content {
		next := at.next(strconv.Itoa(i), "[]")
		if value := resolve(one); s.Unique && value.Kind == yaml.ScalarNode {
			if first, twice := seen[value.Value]; twice {
				name, _, _ := strings.Cut(value.Value, "=") // what follows may be a password
				e.problem(one, at, fmt.Sprintf("%q is there twice, first on line %d", name, first), "keep one of them")
			} else {
				seen[value.Value] = one.Line
			}
		}
		if s.Items != nil {
			e.examine(one, s.Items, next)
		}
	}
}

func (e *examiner) scalar(n *yaml.Node, s *shape, at place) {
	value := e.text(n)
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		e.problem(n, at, fmt.Sprintf("%q is not one of %s", value, quoted(s.Enum)), didYouMean(value, s.Enum))
	}
	number, err := strconv.ParseFloat(value, 64)
	if err == nil && s.Minimum != nil && number < *s.Minimum {
		e.problem(n, at, fmt.Sprintf("%s is less than %v", value, *s.Minimum), "")
	}
	if err == nil && s.Maximum != nil && number > *s.Maximum {
		e.problem(n, at, fmt.Sprintf("%s is more than %v", value, *s.Maximum), "")
	}
	if isSwitch(s, at) {
		if message, hint := checkBoolean(value); message != "" {
			e.problem(n, at, message, hint)
		}
		return
	}
	if e.value(n, value, at) || s.Pattern == "" || jsonType(n) != "string" {
		return
	}
	if !e.matches(s.Pattern, value) {
		e.problem(n, at, fmt.Sprintf("%q does not match %s", value, s.Pattern), "")
	}
}

// isSwitch tells whether a value is true or false: the schema allows any string, since it may come from a variable.
func isSwitch(s *shape, at place) bool {
	return len(s.Type) == 2 && slices.Contains(s.Type, "boolean") && slices.Contains(s.Type, "string") &&
		!strings.HasSuffix(at.pattern, ".provenance") && !strings.HasSuffix(at.pattern, ".sbom")
}

func jsonType(n *yaml.Node) string {
	n = resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		return "object"
	case yaml.SequenceNode:
		return "array"
	}
	switch n.ShortTag() {
	case "!!int":
		return "integer"
	case "!!float":
		return "number"
	case "!!bool":
		return "boolean"
	case "!!null":
		return "null"
	}
	return "string"
}

func kindName(jsonType string) string {
	switch jsonType {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "integer":
		return "an integer"
	case "null":
		return "empty"
	case "boolean":
		return "true or false"
	}
	return "a " + jsonType
}

func kindNames(types []string) string {
	var names []string
	for _, t := range types {
		if name := kindName(t); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}
