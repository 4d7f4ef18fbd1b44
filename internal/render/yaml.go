package render

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// YAML writes objects as one file of several documents, as kubectl apply reads it: without status and without the empty
// fields that Go's types have. The same objects give the same bytes.
func YAML(objects []runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key(o), err)
		}
		var tree map[string]any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			return nil, fmt.Errorf("%s: %w", key(o), err)
		}
		delete(tree, "status")
		prune(tree)
		if data, err = json.Marshal(tree); err != nil {
			return nil, fmt.Errorf("%s: %w", key(o), err)
		}
		document, err := yaml.JSONToYAML(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key(o), err)
		}
		out.WriteString("---\n")
		out.Write(document)
	}
	return out.Bytes(), nil
}

// prune removes the fields that Go's types write even when they are empty.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["creationTimestamp"] == nil {
			delete(v, "creationTimestamp")
		}
		for name, one := range v {
			if m, ok := one.(map[string]any); ok && len(m) == 0 && (name == "resources" || name == "strategy" || name == "updateStrategy") {
				delete(v, name)
				continue
			}
			prune(one)
		}
	case []any:
		for _, one := range v {
			prune(one)
		}
	}
}
