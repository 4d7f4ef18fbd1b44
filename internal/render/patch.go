package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"

	"github.com/perch-k8s/perch/internal/compose"
)

// patched are the objects of a unit with the patches of its services on them, in the order of the file. What a patch gets wrong
// is a problem at its place.
func (w workload) patched(objects []runtime.Object) []runtime.Object {
	for _, part := range w.parts() {
		for i, p := range part.extension.Patch {
			path := []string{"services", part.service.Name, "x-perch", "patch", strconv.Itoa(i)}
			met := false
			for j, o := range objects {
				if !concerns(p, o) {
					continue
				}
				met = true
				if changed := w.patch(p, o, path); changed != nil {
					objects[j] = changed
				}
			}
			if !met {
				w.problem(fmt.Sprintf("patch: there is no %s to patch", strings.TrimSuffix(p.Kind+" "+p.Name, " ")), "there are: "+strings.Join(keysOf(objects), ", "), path...)
			}
		}
	}
	return objects
}

// patchedUnit has the patches on the objects of the release and on the migrations. Config is not among them: its name is that
// of its content.
func (w workload) patchedUnit(u *Unit) {
	all := slices.Clone(u.Objects)
	for _, job := range u.Migrations {
		all = append(all, job)
	}
	all = w.patched(all)
	u.Objects = all[:len(u.Objects)]
	for i, o := range all[len(u.Objects):] {
		if job, ok := o.(*batchv1.Job); ok {
			u.Migrations[i] = job
		}
	}
}

func keysOf(objects []runtime.Object) []string {
	var all []string
	for _, o := range objects {
		all = append(all, key(o))
	}
	return all
}

func concerns(p compose.Patch, o runtime.Object) bool {
	kind, name, _ := strings.Cut(key(o), "/")
	return kind == p.Kind && (p.Name == "" || p.Name == name)
}

// patch is an object with a patch on it, nil when something is wrong with that.
func (w workload) patch(p compose.Patch, o runtime.Object, path []string) runtime.Object {
	of := func(err error, steps ...string) runtime.Object {
		w.problem(fmt.Sprintf("patch of %s: %v", key(o), err), "", slices.Concat(path, steps)...)
		return nil
	}
	before, err := json.Marshal(o)
	if err != nil {
		return of(err)
	}
	form := "strategic"
	var after []byte
	if len(p.JSON) > 0 {
		form = "json"
		after, err = jsonPatched(before, p.JSON)
	} else {
		after, err = strategicallyPatched(before, p.Strategic, o)
	}
	if err != nil {
		return of(err, form)
	}
	changed := reflect.New(reflect.TypeOf(o).Elem()).Interface().(runtime.Object) //nolint:forcetypeassert,errcheck // o is one
	if err, at := decodeStrictly(after, changed); err != nil {
		return of(err, append([]string{form}, at...)...)
	}
	if field := identity(o, changed); field != "" {
		w.problem(fmt.Sprintf("patch of %s: %s must stay as it is: releases, rollouts and other objects find it by that", key(o), field), "",
			slices.Concat(path, []string{form}, strings.Split(field, "."))...)
		return nil
	}
	return changed
}

func jsonPatched(before []byte, ops []compose.PatchOp) ([]byte, error) {
	var all []map[string]any
	for _, op := range ops {
		one := map[string]any{"op": op.Op, "path": op.Path}
		switch op.Op {
		case "add", "replace", "test":
			one["value"] = op.Value
		case "move", "copy":
			one["from"] = op.From
		}
		all = append(all, one)
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, err
	}
	return patch.Apply(before)
}

// strategicallyPatched merges lists by their keys where the type says by which. What has no type, as a ServiceMonitor, is merged
// as JSON is (RFC 7386).
func strategicallyPatched(before []byte, patch map[string]any, o runtime.Object) ([]byte, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	if _, untyped := o.(*unstructured.Unstructured); untyped {
		return jsonpatch.MergePatch(before, data)
	}
	return strategicpatch.StrategicMergePatch(before, data, o)
}

// unknownField is how the decoder tells of a field that a type does not have.
var unknownField = regexp.MustCompile(`^unknown field "(.*)"$`)

// decodeStrictly fills an object from JSON. The error names the first field that its type does not have or that is of another
// kind, and at is the way to it.
func decodeStrictly(data []byte, into runtime.Object) (err error, at []string) { //nolint:revive,staticcheck // at belongs to err
	if u, ok := into.(*unstructured.Unstructured); ok {
		return u.UnmarshalJSON(data), nil
	}
	unknown, err := kjson.UnmarshalStrict(data, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s cannot be a %s", wrong.Field, wrong.Value), steps(wrong.Field)
	}
	if err != nil || len(unknown) == 0 {
		return err, nil
	}
	if m := unknownField.FindStringSubmatch(unknown[0].Error()); m != nil {
		return fmt.Errorf("there is no field %s", m[1]), steps(m[1])
	}
	return unknown[0], nil
}

// steps takes spec.template.spec.containers[0].image apart.
func steps(field string) []string {
	return strings.FieldsFunc(field, func(c rune) bool { return c == '.' || c == '[' || c == ']' })
}

// identity is the field by which others find an object and which a patch changed, "" when there is none.
func identity(before, after runtime.Object) string {
	was, is := named(before), named(after)
	switch {
	case before.GetObjectKind().GroupVersionKind() != after.GetObjectKind().GroupVersionKind():
		return "kind"
	case was.GetName() != is.GetName():
		return "metadata.name"
	case was.GetNamespace() != is.GetNamespace():
		return "metadata.namespace"
	}
	for _, label := range []string{labelName, labelInstance, labelProject, labelComponent} {
		if was.GetLabels()[label] != is.GetLabels()[label] {
			return "metadata.labels"
		}
	}
	if was.GetAnnotations()[annotationName] != is.GetAnnotations()[annotationName] {
		return "metadata.annotations"
	}
	if !reflect.DeepEqual(selectorOf(before), selectorOf(after)) {
		return "spec.selector"
	}
	if old, now := templateOf(before), templateOf(after); old != nil && now != nil {
		for _, label := range []string{labelName, labelInstance} {
			if old.Labels[label] != now.Labels[label] {
				return "spec.template.metadata.labels"
			}
		}
	}
	return ""
}

func named(o runtime.Object) metav1.Object {
	if of, ok := o.(metav1.Object); ok {
		return of
	}
	return &metav1.ObjectMeta{}
}

// selectorOf is spec.selector of any object, nil when it has none.
func selectorOf(o runtime.Object) any {
	data, err := json.Marshal(o)
	if err != nil {
		return nil
	}
	var of struct {
		Spec struct {
			Selector    any `json:"selector"`
			PodSelector any `json:"podSelector"`
			Target      any `json:"scaleTargetRef"`
		} `json:"spec"`
	}
	if json.Unmarshal(data, &of) != nil {
		return nil
	}
	return of
}

func templateOf(o runtime.Object) *metav1.ObjectMeta {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.ObjectMeta
	case *appsv1.StatefulSet:
		return &o.Spec.Template.ObjectMeta
	case *appsv1.DaemonSet:
		return &o.Spec.Template.ObjectMeta
	case *batchv1.Job:
		return &o.Spec.Template.ObjectMeta
	}
	return nil
}
