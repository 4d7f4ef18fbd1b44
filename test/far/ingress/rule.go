package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/traefik/traefik/v3/pkg/rules"
)

// matcher tells whether a request is meant.
type matcher func(*http.Request) bool

// parse understands the rules that Traefik makes of Ingresses: `Host("a.example") && (Path("/x") || PathPrefix("/x/"))`.
func parse(rule string) (matcher, error) {
	if rule == "" { // neither a host nor a path
		return func(*http.Request) bool { return true }, nil
	}
	parser, err := rules.NewParser([]string{"Host", "Path", "PathPrefix"})
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(rule)
	if err != nil {
		return nil, err
	}
	build, ok := parsed.(rules.TreeBuilder)
	if !ok {
		return nil, errors.New("not a rule")
	}
	return matcherOf(build())
}

func matcherOf(t *rules.Tree) (matcher, error) {
	switch t.Matcher {
	case "and", "or":
		left, err := matcherOf(t.RuleLeft)
		if err != nil {
			return nil, err
		}
		right, err := matcherOf(t.RuleRight)
		if err != nil {
			return nil, err
		}
		if t.Matcher == "and" {
			return func(r *http.Request) bool { return left(r) && right(r) }, nil
		}
		return func(r *http.Request) bool { return left(r) || right(r) }, nil
	}
	if t.Not || len(t.Value) != 1 {
		return nil, fmt.Errorf("%s of %d values", t.Matcher, len(t.Value))
	}
	want := t.Value[0]
	switch strings.ToLower(t.Matcher) {
	case "host":
		return func(r *http.Request) bool { return hostIs(hostOf(r), want) }, nil
	case "path":
		return func(r *http.Request) bool { return r.URL.Path == want }, nil
	case "pathprefix":
		return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, want) }, nil
	}
	return nil, fmt.Errorf("no such matcher: %s", t.Matcher)
}

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// hostIs compares names without their case. "*.example" is any one label before it, as in an Ingress.
func hostIs(host, want string) bool {
	if below, wild := strings.CutPrefix(want, "*"); wild {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && strings.EqualFold("."+rest, below)
	}
	return strings.EqualFold(host, want)
}
