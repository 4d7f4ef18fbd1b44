package up

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Destination is a field of a Kubernetes object that a key of the Compose file decides.
type Destination struct {
	Object string `json:"object"`           // as "Deployment web"
	Field  string `json:"field"`            // as "spec.template.spec.containers[web].ports[tcp-80]"; "" is the whole object
	Absent bool   `json:"absent,omitempty"` // the key keeps it away: it would be there without the key
}

// contentHash is the end of a name that says what an object holds. It differs whenever the content does.
var contentHash = regexp.MustCompile(`-[0-9a-f]{10}\b`)

// destinations is what is in the objects made with a key and not, or not so, in those made without it; and what is only in
// the latter, which the key keeps away. It is pure and sorted.
func destinations(with, without []runtime.Object) ([]Destination, error) {
	before, err := trees(without)
	if err != nil {
		return nil, err
	}
	after, err := trees(with)
	if err != nil {
		return nil, err
	}
	var all []Destination
	for _, name := range union(after, before) {
		for _, d := range differences("", after[name], before[name]) {
			all = append(all, Destination{name, d.Field, d.Absent})
		}
	}
	return all, nil
}

// trees is objects as JSON has them, by their kind and name without the hash.
func trees(objects []runtime.Object) (map[string]any, error) {
	all := map[string]any{}
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		var tree map[string]any
		if err := json.Unmarshal([]byte(contentHash.ReplaceAllString(string(data), "")), &tree); err != nil {
			return nil, err
		}
		metadata, _ := tree["metadata"].(map[string]any)
		all[fmt.Sprintf("%v %v", tree["kind"], metadata["name"])] = tree
	}
	return all, nil
}

// differences are the fields in which two trees differ. What only one of them has is named once, at its top.
func differences(path string, a, b any) []Destination {
	if reflect.DeepEqual(a, b) {
		return nil
	}
	left, right := children(a), children(b)
	if left == nil || right == nil {
		return []Destination{{Field: strings.TrimPrefix(path, "."), Absent: a == nil}}
	}
	var all []Destination
	for _, name := range union(left, right) {
		all = append(all, differences(path+name, left[name], right[name])...)
	}
	return all
}

// children are the parts of a tree by the step that leads to them; nil for a value without parts.
func children(v any) map[string]any {
	parts := map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			parts["."+name] = one
		}
	case []any:
		for i, one := range v {
			parts["["+elementName(one, i)+"]"] = one
		}
	default:
		return nil
	}
	return parts
}

// elementName tells the elements of a list apart: by what Kubernetes merges them by, else by their place.
func elementName(v any, i int) string {
	m, _ := v.(map[string]any)
	for _, key := range []string{"name", "mountPath", "containerPort", "ip", "key", "topologyKey"} {
		if text, ok := m[key]; ok {
			return fmt.Sprint(text)
		}
	}
	return strconv.Itoa(i)
}

func union(a, b map[string]any) []string {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
