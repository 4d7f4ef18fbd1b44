package main

import (
	"bytes"
	_ "embed"
	"os"
	"slices"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageText string

// count is a row of the page's table.
type count struct {
	Name                                   string
	Tests, Passed, Failed, LeftOut, NotRun int
}

func (c *count) add(s state, leftOut bool) {
	c.Tests++
	switch {
	case leftOut:
		c.LeftOut++
	case s == passed:
		c.Passed++
	case s == notRun:
		c.NotRun++
	default:
		c.Failed++
	}
}

func writePage(file string, r record, l list) error {
	text, err := page(r, l)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// page is docs/conformance.md.
func page(r record, l list) ([]byte, error) {
	groups, all := counts(r, l)
	parsed, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, map[string]any{
		"Kubernetes": r.kubernetes, "Date": r.date, "Machine": r.machine,
		"Groups": groups, "All": all, "Failing": failing(r, l), "LeftOut": l.LeftOut,
	})
	return text.Bytes(), err
}

// counts by special interest group, the first word of a name, and of all tests.
func counts(r record, l list) (groups []*count, all *count) {
	by, all := map[string]*count{}, &count{}
	leftOut := reasons(l.LeftOut)
	states := map[string]state{}
	for name := range leftOut {
		states[name] = ""
	}
	for name, s := range r.states {
		states[name] = s
	}
	for name, s := range states {
		group, _, _ := strings.Cut(strings.TrimPrefix(name, "["), "]")
		if by[group] == nil {
			by[group] = &count{Name: group}
		}
		_, out := leftOut[name]
		by[group].add(s, out)
		all.add(s, out)
	}
	for _, name := range sorted(by) {
		groups = append(groups, by[name])
	}
	return groups, all
}

// failing are the groups of the list, each with those of its tests that failed, and one of what failed for no known
// reason.
func failing(r record, l list) []group {
	var groups []group
	known := reasons(l.Failing)
	for _, g := range l.Failing {
		g.Tests = slices.DeleteFunc(slices.Clone(g.Tests), func(name string) bool { return !broken(r.states[name]) })
		if len(g.Tests) > 0 {
			groups = append(groups, g)
		}
	}
	unknown := group{Reason: "Not looked into yet:"}
	for _, name := range sorted(r.states) {
		if _, is := known[name]; !is && broken(r.states[name]) {
			unknown.Tests = append(unknown.Tests, name)
		}
	}
	if len(unknown.Tests) > 0 {
		groups = append(groups, unknown)
	}
	return groups
}

// broken: a test that was run and did not pass.
func broken(s state) bool { return s == failed || s == skipped }
