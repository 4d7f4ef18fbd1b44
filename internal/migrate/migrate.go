// Package migrate rewrites Kubernetes manifests of API versions that Kubernetes no longer serves. It reads them as the old
// version did, converts them with Kubernetes' own functions, and changes in the file only what the new version reads
// differently: the rest stays as it is, to the byte. It does nothing but turn text into text: no cluster, no files.
//
// It imports Kubernetes' internal API packages, for their conversions, defaults and validation; its types do not leave it.
package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/fault"
)

// Result is a file after its migration.
type Result struct {
	Text     string // equal to what came in when nothing is old
	Found    int    // Kubernetes objects in the file, old and current
	Objects  []Object
	Warnings []Warning
}

// Object is one that was rewritten.
type Object struct {
	Line     int // where it begins in the file that came in
	Kind     string
	Name     string
	From, To string // apiVersion
	// Explicit are the fields that had to be written out, since the old version filled them in and the new one does not, or
	// does so differently: "spec.selector".
	Explicit []string
}

// Warning is what the cluster does not do any more, though the file asks for it.
type Warning struct {
	Line int
	Text string
	Hint string
}

// File migrates the text of a file of YAML documents, or one of JSON. Its error joins one fault for each mistake, in the order
// of the file; the name is only for these.
func File(name, text string) (Result, error) {
	result := Result{}
	var b strings.Builder
	var mistakes []error
	for _, d := range split(text) {
		after, err := result.document(name, d)
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.WriteString(after)
	}
	result.Text = b.String()
	slices.SortStableFunc(result.Warnings, func(a, b Warning) int { return a.Line - b.Line })
	return result, errors.Join(mistakes...)
}

// Old tells whether a kind of that version can be migrated.
func Old(apiVersion, kind string) bool {
	_, old, _ := successor(apiVersion, kind)
	return old
}

// document migrates one document and notes in r what was done. An error may be joined from several.
func (r *Result) document(name string, d segment) (string, error) {
	doc, err := d.parse()
	if err != nil {
		return d.text, at(name, d.line, err)
	}
	var mistakes []error
	e := edit{document: doc}
	for _, o := range doc.objects() {
		r.Found++
		change, err := o.migrate()
		if err != nil {
			mistakes = append(mistakes, locate(name, o, err))
			continue
		}
		r.Warnings = append(r.Warnings, change.warnings...)
		if change.after == nil {
			continue
		}
		r.Objects = append(r.Objects, change.object)
		e.targets = append(e.targets, target{o, change.kind, change.before, change.after})
	}
	if len(mistakes) > 0 || len(e.targets) == 0 {
		return d.text, errors.Join(mistakes...)
	}
	text, err := e.text()
	if err != nil {
		return d.text, at(name, d.line, err)
	}
	return text, nil
}

// problem is a mistake in an object, before it is known in which file.
type problem struct {
	path string // of the field; "" is the object
	text string
	hint string
}

func (p problem) Error() string { return p.text }

// problems are all mistakes in an object.
type problems []problem

func (ps problems) Error() string {
	texts := make([]string, 0, len(ps))
	for _, p := range ps {
		texts = append(texts, p.Error())
	}
	return strings.Join(texts, "\n")
}

// locate makes faults of the problems in err.
func locate(name string, o object, err error) error {
	all, ok := errors.AsType[problems](err)
	if !ok {
		all = problems{{text: err.Error()}}
	}
	slices.SortStableFunc(all, func(a, b problem) int { return o.line(a.path) - o.line(b.path) })
	var faults []error
	for _, p := range all {
		what := o.title()
		if p.path != "" {
			what += ": " + p.path
		}
		faults = append(faults, fault.New(fault.Other, p.hint, "%s:%d: %s: %s", name, o.line(p.path), what, p.text))
	}
	return errors.Join(faults...)
}

// at is a fault about a whole document.
func at(name string, line int, err error) error {
	if p, ok := errors.AsType[lineError](err); ok {
		return fault.New(fault.Other, p.hint, "%s:%d: %s", name, p.line, p.text)
	}
	return fault.New(fault.Other, "", "%s:%d: %w", name, line, err)
}

// lineError is a mistake at a line that is known.
type lineError struct {
	line       int
	text, hint string
}

func (e lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }
