package secrets

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/perch-k8s/perch/internal/fault"
)

// Text writes values as they are encrypted and edited: a YAML mapping of names to texts, sorted, a value of many lines as a
// block. It is read back before it is answered, so that nothing is kept in a form that would be read as something else.
func (v Values) Text() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, name := range v.Names() {
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v[name], Style: style(v[name])})
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("write secrets as YAML: %s", noValue(err))
	}
	if read, err := Parse(out.Bytes()); err != nil || !maps.Equal(read, v) {
		return nil, fault.New(fault.Usage, "give it in another form, as base64", "a value has characters that YAML does not keep")
	}
	return out.Bytes(), nil
}

// plainBlock are texts that a YAML block keeps as they are.
var plainBlock = regexp.MustCompile(`^[!-~][ -~]*\n([ -~]*[!-~]\n|\n)*[ -~]*[!-~]\n?$`)

// style is how a value is written: a text of many lines as a block, where that keeps it.
func style(value string) yaml.Style {
	switch {
	case !strings.ContainsAny(value, "\n\r"):
		return 0
	case plainBlock.MatchString(value):
		return yaml.LiteralStyle
	}
	return yaml.DoubleQuotedStyle
}

const textHint = "write NAME: value, one a line; put a value that has a colon, a # or another sign in it between '…'"

// Parse reads what Text writes, and what people make of it. Errors have the line, and nothing of what stands there.
func Parse(data []byte) (Values, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fault.New(fault.Usage, textHint, "%snot YAML", noValue(err))
	}
	values := Values{}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return values, nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return values, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fault.New(fault.Usage, textHint, "line %d: not a list of NAME: value", root.Line)
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Kind != yaml.ScalarNode || !variableName.MatchString(key.Value) {
			return nil, fault.New(fault.Usage, textHint, "line %d: what stands before the colon is not the name of a variable", key.Line)
		}
		if _, twice := values[key.Value]; twice {
			return nil, fault.New(fault.Usage, "keep one of them", "line %d: %s is there twice", key.Line, key.Value)
		}
		switch {
		case value.Kind != yaml.ScalarNode || value.Style&yaml.TaggedStyle != 0:
			return nil, fault.New(fault.Usage, textHint, "line %d: the value of %s is not a text", value.Line, key.Value)
		case value.Tag == "!!null":
			return nil, fault.New(fault.Usage, "leave the line out, or put the value between '…'", "line %d: %s has no value", key.Line, key.Value)
		}
		values[key.Value] = value.Value
	}
	return values, nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// noValue is of an error of YAML the line only: the rest may quote the text.
func noValue(err error) string {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return "line " + m[1] + ": "
	}
	return ""
}
