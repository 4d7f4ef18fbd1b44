package migrate

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// A tree is an object as JSON has it: map[string]any, []any, string, bool, int64, float64, nil.

// treeOf is what an object is written as, with every field that its Go type cannot leave out.
func treeOf(o any) (map[string]any, error) {
	return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
}

// equal compares two trees.
func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// hollow tells of a value that says nothing: Go types write such for what was never set.
func hollow(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// unset removes from a converted object what was never said: a conversion makes nought of a number that is not there.
func unset(after, before map[string]any) {
	for key, a := range after {
		b, said := before[key]
		switch a := a.(type) {
		case map[string]any:
			if b, ok := b.(map[string]any); ok {
				unset(a, b)
			}
		case []any:
			b, _ := b.([]any)
			for i := 0; i < len(a) && len(a) == len(b); i++ {
				inner, isMap := a[i].(map[string]any)
				if was, ok := b[i].(map[string]any); ok && isMap {
					unset(inner, was)
				}
			}
		case nil, string, bool, int64:
			if !said && (a == nil || a == "" || a == false || a == int64(0)) {
				delete(after, key)
			}
		}
	}
}

// complete gives object every field of want that got lacks or has otherwise, and returns the paths of those it gave. got is
// what the new version makes of object by its own defaults.
func complete(object, got, want map[string]any, path string) []string {
	var given []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		at := strings.TrimPrefix(path+"."+key, ".")
		switch w := want[key].(type) {
		case map[string]any:
			if g, ok := got[key].(map[string]any); ok {
				inner, had := object[key].(map[string]any)
				if !had {
					inner = map[string]any{}
				}
				given = append(given, complete(inner, g, w, at)...)
				if !had && len(inner) > 0 {
					object[key] = inner
				}
				continue
			}
		case []any:
			if paths, ok := completeList(object[key], got[key], w, at); ok {
				given = append(given, paths...)
				continue
			}
		}
		if g, ok := got[key]; equal(g, want[key]) && ok || hollow(want[key]) && hollow(g) {
			continue
		}
		object[key] = runtime.DeepCopyJSONValue(want[key])
		given = append(given, at)
	}
	return given
}

// completeList goes into lists of objects of the same length. ok is false when they are not.
func completeList(object, got any, want []any, path string) (given []string, ok bool) {
	o, isList := object.([]any)
	g, isToo := got.([]any)
	if !isList || !isToo || len(o) != len(want) || len(g) != len(want) {
		return nil, false
	}
	for i := range want {
		inner, a := o[i].(map[string]any)
		made, b := g[i].(map[string]any)
		wanted, c := want[i].(map[string]any)
		if !a || !b || !c {
			return nil, false
		}
		given = append(given, complete(inner, made, wanted, path+"["+strconv.Itoa(i)+"]")...)
	}
	return given, true
}

// drop removes the field at a path of keys.
func drop(tree map[string]any, path ...string) {
	for _, key := range path[:len(path)-1] {
		tree, _ = tree[key].(map[string]any)
	}
	delete(tree, path[len(path)-1])
}

// at is the value at a path of keys, nil when there is none.
func valueAt(tree map[string]any, path ...string) any {
	var v any = tree
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}
