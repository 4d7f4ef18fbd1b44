package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// hider replaces sensitive texts wherever they stand in what is printed.
type hider struct{ texts *strings.Replacer }

func newHider(texts []string) hider {
	pairs := make([]string, 0, 2*len(texts))
	for _, text := range texts {
		pairs = append(pairs, text, compose.Hidden)
	}
	return hider{strings.NewReplacer(pairs...)}
}

// replace hides the known values, and what has the form of a password.
func (h hider) replace(text string) string { return compose.HidePasswords(h.texts.Replace(text)) }

// yaml hides in the values of a YAML document.
func (h hider) yaml(document []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	h.node(&root)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2) // as compose-go writes it
	if err := encoder.Encode(&root); err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	return out.Bytes(), nil
}

func (h hider) node(n *yaml.Node) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // keys are no values
		}
		h.node(child)
	}
	if n.Kind == yaml.ScalarNode {
		n.Value = h.replace(n.Value)
	}
}

// json hides in the values of a JSON document.
func (h hider) json(document []byte) ([]byte, error) {
	var tree any
	if err := json.Unmarshal(document, &tree); err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(h.tree(tree)); err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	return out.Bytes(), nil
}

func (h hider) tree(v any) any {
	switch v := v.(type) {
	case string:
		return h.replace(v)
	case []any:
		for i := range v {
			v[i] = h.tree(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = h.tree(v[name])
		}
	}
	return v
}

// objects hides the data of Secrets, and sensitive texts in all others. What comes of it is as valid as before, so that
// it can be looked at, compared and checked by a server; it is not the application.
func (h hider) objects(objects []runtime.Object) ([]runtime.Object, error) {
	shown := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		if s, ok := o.(*corev1.Secret); ok {
			s = s.DeepCopy()
			for name := range s.Data {
				s.Data[name] = []byte(compose.Hidden)
			}
			shown = append(shown, s)
			continue
		}
		data, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("hide secrets: %w", err)
		}
		var tree map[string]any
		if err := json.Unmarshal(data, &tree); err != nil {
			return nil, fmt.Errorf("hide secrets: %w", err)
		}
		h.tree(tree)
		shown = append(shown, &unstructured.Unstructured{Object: tree})
	}
	return shown, nil
}
