package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"sigs.k8s.io/yaml"
)

// list is what is said of tests by name, in the words of the suite.
type list struct {
	LeftOut []group  `json:"leftOut"` // not run
	Failing []group  `json:"failing"` // run, and known to fail
	Quick   []string `json:"quick"`   // the part for CI: a few minutes
}

// group is tests with one reason.
type group struct {
	Reason string   `json:"reason"`
	Tests  []string `json:"tests"`
}

func readList(file string) (list, error) {
	var l list
	content, err := os.ReadFile(file)
	if err != nil {
		return l, err
	}
	if err := yaml.UnmarshalStrict(content, &l); err != nil {
		return l, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// check says all that is wrong with the list, given the names of all tests.
func (l list) check(all []string) error {
	var problems []error
	seen := map[string]bool{}
	for _, g := range slices.Concat(l.LeftOut, l.Failing) {
		if g.Reason == "" {
			problems = append(problems, fmt.Errorf("no reason for %q", g.Tests))
		}
		for _, name := range g.Tests {
			if seen[name] {
				problems = append(problems, fmt.Errorf("twice: %q", name))
			}
			seen[name] = true
		}
	}
	for _, name := range l.Quick {
		if seen[name] {
			problems = append(problems, fmt.Errorf("quick, and also left out, failing or quick: %q", name))
		}
		seen[name] = true
	}
	for _, name := range sorted(seen) {
		if !slices.Contains(all, name) {
			problems = append(problems, fmt.Errorf("the suite has no such test: %q", name))
		}
	}
	return errors.Join(problems...)
}

func reasons(groups []group) map[string]string {
	by := map[string]string{}
	for _, g := range groups {
		for _, name := range g.Tests {
			by[name] = g.Reason
		}
	}
	return by
}

// choice is which tests are to be run.
type choice struct {
	quick   bool
	only    *regexp.Regexp
	missing bool // those that the record does not say passed
}

// of chooses from the names of all tests, in their order.
func (c choice) of(all []string, l list, r record) []string {
	leftOut := reasons(l.LeftOut)
	var chosen []string
	for _, name := range all {
		if _, out := leftOut[name]; out || c.quick && !slices.Contains(l.Quick, name) || !c.only.MatchString(name) ||
			c.missing && r.states[name] == passed {
			continue
		}
		chosen = append(chosen, name)
	}
	return chosen
}
