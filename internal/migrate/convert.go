package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// change is what is to be done about one object.
type change struct {
	kind          kind
	before, after map[string]any // the object as its old and its new version write it; nil: nothing is to be done
	object        Object
	warnings      []Warning
}

// migrate decides. Its errors are problems, or joined from them.
func (o object) migrate() (change, error) {
	c := change{warnings: o.deadAnnotations()}
	apiVersion, name := stringOf(o.tree["apiVersion"]), stringOf(o.tree["kind"])
	k, old, err := successor(apiVersion, name)
	if err != nil || !old {
		return c, err
	}
	c.object = Object{
		Line: o.line("apiVersion"), Kind: name, Name: o.name(), From: apiVersion, To: k.to.GroupVersion().String(),
	}
	if spec, ok := o.tree["spec"].(map[string]any); ok && k.to.Group == "apps" && spec["template"] == nil {
		return c, problems{{path: "spec", text: "it has no template, so it is only a part", hint: "is it a patch? then change its apiVersion by hand"}}
	}
	m, err := k.convert(o.tree)
	if err != nil {
		return c, err
	}
	c.kind, c.before, c.after, c.object.Explicit = k, m.before, m.after, m.explicit
	if _, written := o.tree["status"]; written {
		c.before["status"] = o.tree["status"]
	}
	c.warnings = append(c.warnings, o.notes()...)
	c.warnings = append(c.warnings, o.told(m.warnings)...)
	return c, nil
}

var (
	toldOf         = regexp.MustCompile(`^([a-z][^ ]*): (.*)$`)
	annotationName = regexp.MustCompile(`annotations\[(.*)\]`)
)

// told are Kubernetes' own warnings, but for those of annotations that were warned of before.
func (o object) told(texts []string) []Warning {
	var warnings []Warning
	for _, text := range texts {
		path := ""
		if m := toldOf.FindStringSubmatch(text); m != nil {
			path, text = m[1], m[2]
		}
		if m := annotationName.FindStringSubmatch(path); m != nil {
			if _, _, known := successorOf(m[1]); known {
				continue
			}
		}
		warnings = append(warnings, o.warning(path, text, ""))
	}
	return warnings
}

func (o object) name() string {
	return stringOf(valueAt(o.tree, "metadata", "name"))
}

func (o object) warning(path, text, hint string) Warning {
	what := o.title()
	if path != "" {
		what += ": " + path
	}
	return Warning{Line: o.line(path), Text: what + ": " + text, Hint: hint}
}

// meaning is an object in both versions.
type meaning struct {
	before, after map[string]any // without defaults, but for those that explicit names
	explicit      []string
	warnings      []string // Kubernetes' own, of the new version
}

// convert finds what the new version must say so that it means what the old one did. What the old version's defaults make of
// the object, converted, is the meaning; what is not among the new version's own defaults has to be written out.
func (k kind) convert(tree map[string]any) (meaning, error) {
	s := schemeOf(k.to.Group)
	if k.rewrite != nil {
		return k.rewritten(s, tree)
	}
	old, err := decode(s, k.shape, tree)
	if err != nil {
		return meaning{}, err
	}
	plain, err := k.converted(s, old.DeepCopyObject())
	if err != nil {
		return meaning{}, err
	}
	filled := old.DeepCopyObject()
	s.Default(filled)
	meant, err := k.converted(s, filled)
	if err != nil {
		return meaning{}, err
	}
	s.Default(meant)
	before, err := treeOf(old)
	if err != nil {
		return meaning{}, err
	}
	before["apiVersion"], before["kind"] = k.from.GroupVersion().String(), k.from.Kind
	return k.explained(s, before, plain, meant)
}

// rewritten is convert for versions that Kubernetes has no type of any more: their defaults were those of the new version.
func (k kind) rewritten(s *runtime.Scheme, tree map[string]any) (meaning, error) {
	before := runtime.DeepCopyJSON(tree)
	after := runtime.DeepCopyJSON(before)
	after["apiVersion"] = k.to.GroupVersion().String()
	if err := k.rewrite(after); err != nil {
		return meaning{}, err
	}
	delete(after, "status")
	plain, err := decode(s, k.to, after)
	if err != nil {
		return meaning{}, err
	}
	s.Default(plain)
	warnings, err := check(k.to, plain)
	drop(before, "status")
	return meaning{before: before, after: after, warnings: warnings}, err
}

// explained completes plain by what meant has beyond it, and checks that the result is valid and means the same.
func (k kind) explained(s *runtime.Scheme, before map[string]any, plain, meant runtime.Object) (meaning, error) {
	want, err := treeOf(meant)
	if err != nil {
		return meaning{}, err
	}
	after, err := treeOf(plain)
	if err != nil {
		return meaning{}, err
	}
	m := meaning{before: tidy(before), after: tidy(after)}
	unset(m.after, m.before)
	_, got, err := defaulted(s, k.to, m.after)
	if err != nil {
		return m, err
	}
	m.explicit = complete(m.after, got, tidy(want), "")
	result, got, err := defaulted(s, k.to, m.after)
	if err != nil {
		return m, err
	}
	if !equal(got, want) {
		return m, fmt.Errorf("%s cannot say what %s said", k.to.GroupVersion(), k.from.GroupVersion())
	}
	m.warnings, err = check(k.to, result)
	return m, err
}

// defaulted is what a version makes of a tree by its defaults.
func defaulted(s *runtime.Scheme, as schema.GroupVersionKind, tree map[string]any) (runtime.Object, map[string]any, error) {
	o, err := decode(s, as, tree)
	if err != nil {
		return nil, nil, err
	}
	s.Default(o)
	full, err := treeOf(o)
	if err != nil {
		return nil, nil, err
	}
	return o, tidy(full), nil
}

// converted goes through Kubernetes' internal type, which every version of the kind has a conversion to.
func (k kind) converted(s *runtime.Scheme, old runtime.Object) (runtime.Object, error) {
	internal, err := s.New(schema.GroupVersionKind{Group: k.to.Group, Version: runtime.APIVersionInternal, Kind: k.to.Kind})
	if err != nil {
		return nil, err
	}
	converted, err := s.New(k.to)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Convert(old, internal, nil), s.Convert(internal, converted, nil)); err != nil {
		return nil, err
	}
	converted = converted.DeepCopyObject() // a conversion may share memory with what it began with
	if k.adapt != nil {
		k.adapt(old, converted)
	}
	converted.GetObjectKind().SetGroupVersionKind(k.to)
	return converted, nil
}

// tidy takes away what Kubernetes' types and conversions add for themselves, and what is the cluster's to write.
func tidy(tree map[string]any) map[string]any {
	delete(tree, "status")
	for _, path := range [][]string{
		{"metadata", "creationTimestamp"},
		{"metadata", "annotations", "deprecated.daemonset.template.generation"},
		{"metadata", "annotations", "deprecated.deployment.rollback.to"},
		{"spec", "template", "metadata", "creationTimestamp"},
	} {
		drop(tree, path...)
	}
	if hollow(valueAt(tree, "metadata", "annotations")) {
		drop(tree, "metadata", "annotations")
	}
	claims, _ := valueAt(tree, "spec", "volumeClaimTemplates").([]any)
	for _, claim := range claims {
		if c, ok := claim.(map[string]any); ok {
			delete(c, "apiVersion") // the only thing that can be there
			delete(c, "kind")
			delete(c, "status")
			drop(c, "metadata", "creationTimestamp")
		}
	}
	return tree
}

var (
	unknownField = regexp.MustCompile(`^unknown field "(.*)"$`)
	wrongType    = regexp.MustCompile(`cannot unmarshal (\S+) into Go struct field \w+\.(\S+) of type (.*)$`)
)

// decode reads a tree as an object of a version. Its errors are one problem for each field that the version has not.
func decode(s *runtime.Scheme, as schema.GroupVersionKind, tree map[string]any) (runtime.Object, error) {
	tree = runtime.DeepCopyJSON(tree)
	tree["apiVersion"], tree["kind"] = as.GroupVersion().String(), as.Kind
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	decoder := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, s, s, kjson.SerializerOptions{Strict: true})
	o, _, err := decoder.Decode(data, nil, nil)
	if err == nil {
		return o, nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
			return nil, problems{{path: m[2], text: fmt.Sprintf("a %s cannot be here; a %s can", m[1], m[3]), hint: "quote numbers and booleans where a string is wanted"}}
		}
		return nil, err
	}
	var all problems
	for _, one := range strict.Errors() {
		p := problem{text: one.Error()}
		if m := unknownField.FindStringSubmatch(one.Error()); m != nil {
			p = problem{path: m[1], text: fmt.Sprintf("%s has no such field", as.GroupVersion()), hint: "mend its name, or remove it: the cluster never heeded it"}
		}
		all = append(all, p)
	}
	return nil, all
}
