package release

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// maxDifferences bounds how many differences a cause names.
const maxDifferences = 3

// difference says in words what changes for a service: "image changed web:1 → web:2, replicas 2 → 3". It is "" when
// the objects are the same.
func difference(u *Unit, in Installed, o Observed) string {
	before := documents(in.Manifest)
	var said []string
	say := func(text string) {
		if !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	switch {
	case u.Foreign != "" && in.Foreign != "":
		configs(u, in, o, say)
		foreign(u, in, say)
		return firstOf(said)
	case u.Foreign != "":
		return "it becomes the chart " + u.Foreign
	case in.Foreign != "":
		return "it is no longer the chart " + in.Foreign
	}
	configs(u, in, o, say)
	after := map[Ref]bool{}
	for _, object := range u.Objects {
		ref, now, err := tree(object)
		if err != nil {
			continue
		}
		after[ref] = true
		old, there := before[ref]
		if !there {
			say(strings.ToLower(ref.Kind) + " " + ref.Name + " is new")
			continue
		}
		walk(ref, nil, old, now, say)
	}
	gone := make([]string, 0, len(before))
	for ref := range before {
		if !after[ref] {
			gone = append(gone, strings.ToLower(ref.Kind)+" "+ref.Name+" is no longer wanted")
		}
	}
	sort.Strings(gone)
	for _, g := range gone {
		say(g)
	}
	if u.Guessed {
		said = known(said)
	}
	return firstOf(said)
}

// firstOf joins what is said, the first of it when it is much.
func firstOf(said []string) string {
	if len(said) > maxDifferences {
		said = append(said[:maxDifferences:maxDifferences], fmt.Sprintf("and %d more", len(said)-maxDifferences))
	}
	return strings.Join(said, ", ")
}

// foreign says what changes for a service that is somebody else's chart: its version, and values by their names. What the chart
// makes of them is not looked at: it may roll dice for passwords.
func foreign(u *Unit, in Installed, say func(string)) {
	if u.Foreign != in.Foreign {
		say("chart " + in.Foreign + " → " + u.Foreign)
	}
	was, err1 := copied(in.Values)
	is, err2 := copied(u.Values)
	if err1 == nil && err2 == nil {
		changedValues(nil, was, is, say)
	}
}

func changedValues(path []string, was, is map[string]any, say func(string)) {
	for _, key := range keys(was, is) {
		at := append(slices.Clone(path), key)
		a, aIs := was[key].(map[string]any)
		b, bIs := is[key].(map[string]any)
		switch {
		case aIs && bIs:
			changedValues(at, a, b, say)
		case !reflect.DeepEqual(was[key], is[key]):
			say("value " + strings.Join(at, ".") + " changed")
		}
	}
}

// ofTheImage is a difference that may come from what the image says of itself.
var ofTheImage = regexp.MustCompile(`^((deployment|statefulset|daemonset|service) \S+|ports|volumes|health check|life cycle hooks|grace period) changed$`)

// maybeMore ends the cause of a service whose image is not built yet.
const maybeMore = "maybe more, which is known when the image is built"

// holds tells whether a cause is still the one that was planned: what was left open then may have come to it.
func holds(planned, now string) bool {
	sure, open := strings.CutSuffix(planned, ", "+maybeMore)
	return planned == now || open && strings.HasPrefix(now, sure)
}

// known is what is said of a service whose image is not built yet: the rest may be as before when it is.
func known(said []string) []string {
	kept := slices.DeleteFunc(slices.Clone(said), ofTheImage.MatchString)
	if len(kept) < len(said) {
		kept = append(kept, maybeMore)
	}
	return kept
}

// documents takes a manifest apart.
func documents(manifest string) map[Ref]map[string]any {
	found := map[Ref]map[string]any{}
	for _, doc := range strings.Split("\n"+manifest, "\n---") {
		var o map[string]any
		if yaml.Unmarshal([]byte(doc), &o) != nil || o == nil {
			continue
		}
		add(found, o)
	}
	return found
}

// add puts an object under its name, or those of a list under theirs.
func add(found map[Ref]map[string]any, o map[string]any) {
	kind, _ := o["kind"].(string)
	if items, ok := o["items"].([]any); ok && kind == "List" {
		for _, one := range items {
			if item, ok := one.(map[string]any); ok {
				add(found, item)
			}
		}
		return
	}
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	found[Ref{kind, name}] = o
}

// tree is an object as JSON has it.
func tree(object runtime.Object) (Ref, map[string]any, error) {
	ref, err := refOf(object)
	if err != nil {
		return ref, nil, err
	}
	data, err := json.Marshal(object)
	if err != nil {
		return ref, nil, err
	}
	var o map[string]any
	return ref, o, json.Unmarshal(data, &o)
}

// walk compares two trees and says each difference, by its path unless there is a better word. What the manifest
// leaves out and the object has empty is no difference.
func walk(ref Ref, path []string, old, now any, say func(string)) {
	if reflect.DeepEqual(old, now) || empty(old) && empty(now) {
		return
	}
	switch n := now.(type) {
	case map[string]any:
		o, ok := old.(map[string]any)
		if !ok {
			break
		}
		for _, k := range keys(o, n) {
			if skipped(path, k) {
				continue
			}
			walk(ref, append(slices.Clone(path), k), o[k], n[k], say)
		}
		return
	case []any:
		o, ok := old.([]any)
		if !ok || len(o) != len(n) {
			break
		}
		for i := range n {
			walk(ref, append(slices.Clone(path), element(n[i], i)), o[i], n[i], say)
		}
		return
	}
	say(phrase(ref, path, old, now))
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return false
}

func keys(a, b map[string]any) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	sorted := make([]string, 0, len(all))
	for k := range all {
		sorted = append(sorted, k)
	}
	sort.Strings(sorted)
	return sorted
}

// skipped tells what only mirrors another change, or is the server's: the status, the version label, and the names of
// config objects, whose content is compared instead.
func skipped(path []string, key string) bool {
	switch key {
	case "status", "creationTimestamp", "app.kubernetes.io/version", "envFrom":
		return true
	case "namespace":
		return len(path) == 1 && path[0] == "metadata" // a chart does not say it
	}
	return false
}

// element names a list's element: by its own name, else by its index.
func element(v any, i int) string {
	if m, ok := v.(map[string]any); ok {
		if name, ok := m["name"].(string); ok {
			return name
		}
	}
	return fmt.Sprint(i)
}

// phrases are the fields of objects that have a name of their own in a Compose file.
func phrases() []struct{ field, word string } {
	return []struct{ field, word string }{
		{"initContainers", "pre_start of each replica"},
		{"readinessProbe", "health check"},
		{"startupProbe", "health check"},
		{"livenessProbe", "liveness probe"},
		{"lifecycle", "life cycle hooks"},
		{"args", "command"},
		{"command", "entrypoint"},
		{"resources", "resources"},
		{"ports", "ports"},
		{"volumeMounts", "volumes"},
		{"volumes", "volumes"},
		{"strategy", "update order"},
		{"labels", "labels"},
		{"terminationGracePeriodSeconds", "grace period"},
	}
}

// phrase says one difference.
func phrase(ref Ref, path []string, old, now any) string {
	last := ""
	if len(path) > 0 {
		last = path[len(path)-1]
	}
	switch {
	case last == "image":
		return fmt.Sprintf("image changed %v → %v", short(old), short(now))
	case last == "replicas":
		return fmt.Sprintf("replicas %s → %s", replicasWord(old), replicasWord(now))
	case slices.Contains(path, "env"):
		for i, part := range path {
			if part == "env" && i+1 < len(path) {
				return "environment variable " + path[i+1] + " changed"
			}
		}
		return "environment changed"
	}
	for _, w := range phrases() {
		if slices.Contains(path, w.field) {
			return w.word + " changed"
		}
	}
	return strings.ToLower(ref.Kind) + " " + strings.Join(path, ".") + " changed"
}

// short is an image's name without the registry that is the default anyway.
func short(image any) string {
	text := word(image)
	text = strings.TrimPrefix(text, "docker.io/")
	return strings.TrimPrefix(text, "library/")
}

// replicasWord is a number of pods: what no object says is an autoscaler's to say.
func replicasWord(v any) string {
	if v == nil {
		return "by load"
	}
	return fmt.Sprint(v)
}

func word(v any) string {
	if v == nil {
		return "default"
	}
	return fmt.Sprint(v)
}

// variables is the name of a config object that holds variables, NAME-env-HASH. The others hold files, with keys that say
// nothing to anyone; that those changed is said of the volumes.
var variables = regexp.MustCompile(`-env-[0-9a-f]+$`)

func holdsVariables(name string) bool { return variables.MatchString(name) }

// configs says which variables of the service changed, by comparing the config objects that the installed manifest names
// with the wanted ones. Only their names are said.
func configs(u *Unit, in Installed, o Observed, say func(string)) {
	before, after := map[string]string{}, map[string]string{}
	for ref, c := range o.Config {
		if c.Service == u.Service && strings.Contains(in.Manifest, ref.Name) && holdsVariables(ref.Name) {
			for k, v := range c.Data {
				before[k] = v
			}
		}
	}
	for _, object := range u.Config {
		if m, err := meta.Accessor(object); err != nil || !holdsVariables(m.GetName()) {
			continue
		}
		for k, v := range data(object) {
			after[k] = v
		}
	}
	if len(before) == 0 {
		return
	}
	names := map[string]any{}
	for k := range before {
		names[k] = nil
	}
	for k := range after {
		names[k] = nil
	}
	for _, k := range keys(names, nil) {
		was, had := before[k]
		is, has := after[k]
		switch {
		case had && !has:
			say("environment variable " + k + " removed")
		case !had && has:
			say("environment variable " + k + " is new")
		case was != is:
			say("environment variable " + k + " changed")
		}
	}
}

// data is the entries of a ConfigMap or Secret.
func data(object runtime.Object) map[string]string {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		return o.Data
	case *corev1.Secret:
		m := texts(o.Data)
		maps.Copy(m, o.StringData)
		return m
	}
	return nil
}
