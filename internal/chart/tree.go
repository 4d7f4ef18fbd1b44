package chart

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Marks of Perch, which the files that a person owns do not have, and labels that charts set by their own values.
const (
	marks          = "perch.dev/"
	markOf         = "perch.dev/service"
	networkMark    = "perch.dev/network."
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// treeOf is an object without status and without its namespace.
func treeOf(o runtime.Object) (tree, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var t tree
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&t); err != nil {
		return nil, err
	}
	delete(t, "status")
	delete(mapping(t, "metadata"), "namespace")
	prune(t)
	return t, nil
}

// mapping is the mapping at a path of keys; nil when there is none. A nil one can be read and deleted from.
func mapping(t tree, path ...string) tree {
	for _, key := range path {
		t, _ = t[key].(tree)
	}
	return t
}

// put is the same, made when it is not there.
func put(t tree, path ...string) tree {
	for _, key := range path {
		next, ok := t[key].(tree)
		if !ok {
			next = tree{}
			t[key] = next
		}
		t = next
	}
	return t
}

// list is the list at key as mappings.
func list(t tree, key string) []tree {
	all, _ := t[key].([]any)
	var out []tree
	for _, one := range all {
		if m, ok := one.(tree); ok {
			out = append(out, m)
		}
	}
	return out
}

func word(t tree, path ...string) string {
	if len(path) > 1 {
		t = mapping(t, path[:len(path)-1]...)
	}
	s, _ := t[path[len(path)-1]].(string)
	return s
}

func kindOf(t tree) string { return word(t, "kind") }
func nameOf(t tree) string { return word(t, "metadata", "name") }

// each calls f for every mapping in v, with the key that it stands at.
func each(v any, at string, f func(at string, m tree)) {
	switch v := v.(type) {
	case tree:
		f(at, v)
		for _, key := range sortedKeys(v) {
			each(v[key], key, f)
		}
	case []any:
		for _, one := range v {
			each(one, at, f)
		}
	}
}

// tidy takes the marks of Perch and empty fields out of an object. What says on which network a pod is stays: policies
// select by it.
func tidy(t tree) {
	each(t, "", func(at string, m tree) {
		if at == "labels" || at == "annotations" {
			for key := range m {
				if strings.HasPrefix(key, marks) && !strings.HasPrefix(key, networkMark) {
					delete(m, key)
				}
			}
		}
		for _, key := range []string{"resources", "strategy", "updateStrategy", "annotations", "labels", "securityContext"} {
			if inner, ok := m[key].(tree); ok && len(inner) == 0 {
				delete(m, key)
			}
		}
	})
	each(t, "", func(_ string, m tree) { // those that became empty
		if inner, ok := m["annotations"].(tree); ok && len(inner) == 0 {
			delete(m, "annotations")
		}
	})
}

// podTemplate is the template of the pods that an object makes; nil when it makes none.
func podTemplate(t tree) tree {
	switch kindOf(t) {
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
		return mapping(t, "spec", "template")
	case "CronJob":
		return mapping(t, "spec", "jobTemplate", "spec", "template")
	}
	return nil
}

// containers are all containers of a pod template, those that run first included.
func containers(template tree) []tree {
	spec := mapping(template, "spec")
	return slices.Concat(list(spec, "containers"), list(spec, "initContainers"))
}

// configKinds are the fields of a pod that name a ConfigMap or a Secret, and the kind of it.
func configKinds() map[string]string {
	return map[string]string{
		"configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "configMap": "ConfigMap",
		"secretRef": "Secret", "secretKeyRef": "Secret", "secret": "Secret",
	}
}

// references calls f for every name of a ConfigMap or Secret in v: the mapping and key where it stands.
func references(v any, f func(kind, at string, m tree, key string)) {
	kinds := configKinds()
	each(v, "", func(at string, m tree) {
		kind, ok := kinds[at]
		if !ok {
			return
		}
		for _, key := range []string{"name", "secretName"} {
			if _, ok := m[key].(string); ok {
				f(kind, at, m, key)
			}
		}
	})
}

// fileNames are the paths that pods give to the keys of a ConfigMap or Secret, by its kind and name.
func fileNames(v any, into map[string]map[string]string) {
	references(v, func(kind, _ string, m tree, key string) {
		id := kind + "/" + word(m, key)
		for _, item := range list(m, "items") {
			if into[id] == nil {
				into[id] = map[string]string{}
			}
			into[id][word(item, "key")] = word(item, "path")
		}
	})
}
