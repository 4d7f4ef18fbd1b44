package compose_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/perch-k8s/perch/internal/compose"
)

// opened is Options.Secrets of a project whose files have these values.
func opened(values map[string]string) func(context.Context, string, bool) (map[string]string, error) {
	return func(context.Context, string, bool) (map[string]string, error) { return values, nil }
}

const pemLike = "-----BEGIN X-----\n" + marker + "-line\nabcdef\n-----END X-----\n"

// TestSecretsFiles: values of the secrets files are variables, over .env and under the environment, and whatever has one in
// it is sensitive.
func TestSecretsFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{".env": "ONE=of-the-env-file\nTWO=two-of-env\n", "app.env": "FROM_FILE=x-${ONE}\n", "compose.yaml": `
services:
  web:
    image: x
    env_file: app.env
    environment:
      PLAIN: ${ONE}
      INSIDE: a-${ONE}-b
      SHORT: ${PIN}
      OTHER: x
      TWO:
      MINE:
    secrets: [key]
    pre_start: [{image: x, command: [x], environment: {HOOK: "${ONE}"}}]
    build: {context: ., args: {ARG: "${ONE}"}}
jobs:
  job: {image: x, triggers: {manual: true}, environment: [ONE, OTHER=x]}
secrets:
  key: {environment: KEY}
`})
	asked := ""
	o := compose.Options{WorkingDir: dir, Environment: map[string]string{"MINE": "mine-of-the-shell"}}
	o.Secrets = func(_ context.Context, dir string, needed bool) (map[string]string, error) {
		asked = fmt.Sprint(dir, needed)
		return map[string]string{"ONE": marker + "-one", "PIN": "1234", "KEY": pemLike, "MINE": marker + "-mine"}, nil
	}
	p := load(t, o)
	if asked != fmt.Sprint(dir, true) {
		t.Errorf("asked for %s", asked)
	}
	env := p.Project.Services["web"].Environment
	for name, want := range map[string]string{
		"PLAIN": marker + "-one", "INSIDE": "a-" + marker + "-one-b", "FROM_FILE": "x-" + marker + "-one", "TWO": "two-of-env", "MINE": "mine-of-the-shell",
	} {
		if env[name] == nil || *env[name] != want {
			t.Errorf("%s is %v, want %s", name, env[name], want)
		}
	}
	for name, want := range map[string]bool{"PLAIN": true, "INSIDE": true, "FROM_FILE": true, "SHORT": true, "HOOK": true, "ARG": true, "MINE": true, "TWO": false, "OTHER": false} {
		if got := p.Services["web"].Sensitive(name, "x"); got != want {
			t.Errorf("%s is sensitive: %t", name, got)
		}
	}
	if x := p.JobExtensions["job"]; !x.Sensitive("ONE", "x") || x.Sensitive("OTHER", "x") {
		t.Errorf("of the job: %v", x.Secrets)
	}
	if string(p.SecretData["key"]) != pemLike {
		t.Errorf("the key is %q", p.SecretData["key"])
	}
	texts := p.SecretTexts()
	for _, want := range []string{marker + "-one", "mine-of-the-shell", strings.TrimSpace(pemLike), marker + "-line"} {
		if !slices.Contains(texts, want) {
			t.Errorf("%q is not among the texts to hide: %q", want, texts)
		}
	}
	warnings := listed("warning", p.Warnings)
	if strings.Contains(warnings, marker) || !strings.Contains(warnings, "variable MINE is in the environment and, with another value") {
		t.Errorf("warnings:\n%s", warnings)
	}
}

// TestSecretsFilesUnread: without a value that is needed nothing is loaded; who wants names only gets them, and no complaint
// of what the values would have filled.
func TestSecretsFilesUnread(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"compose.yaml": `
services:
  web: {image: x, environment: {A: "${ONE:?it is needed}", B: "${TWO}"}, secrets: [key]}
secrets:
  key: {environment: KEY}
`})
	closed := errors.New("no key")
	o := compose.Options{WorkingDir: dir, Secrets: func(_ context.Context, _ string, needed bool) (map[string]string, error) {
		if !needed {
			return nil, fmt.Errorf("not asked: %w", closed)
		}
		return nil, closed
	}}
	if _, err := compose.Load(t.Context(), o); !errors.Is(err, closed) {
		t.Errorf("loaded: %v", err)
	}
	if _, err := compose.Explain(t.Context(), o, "services"); !errors.Is(err, closed) {
		t.Errorf("explained: %v", err)
	}
	o.NamesOnly = true
	p := load(t, o)
	if strings.Contains(listed("warning", p.Warnings), "variable") || p.Project.Services["web"].Image != "x" {
		t.Errorf("warnings:\n%s", listed("warning", p.Warnings))
	}
}

// TestSecretsFilesHidden plants a value of the secrets files, under names that say nothing, in every place, and makes mistakes
// around it: it is in no message, and where all may read it there is a warning.
func TestSecretsFilesHidden(t *testing.T) {
	t.Parallel()
	for _, place := range []string{
		"ports: ['${THING}:80']", "restart: ${THING}", "user: ${THING}!", "hostname: '${THING}!'", "mem_limit: ${THING}", "cpus: ${THING}", "scale: ${THING}",
		"network_mode: ${THING}", "volumes: ['./${THING}:/x:ro']", "depends_on: ['${THING}']", "image: '${THING}!'", "extends: {file: '${THING}', service: x}",
		"command: ['${THING}!', '${THING:?}', '${NOTHING:?no}']", "env_file: ['${THING}']", "labels: {a: '${THING}'}", "deploy: {replicas: '${THING}'}",
	} {
		for _, value := range []string{marker, "correcthorsebattery", "a" + marker + "\nb" + marker + "\n"} {
			dir := folder(t, map[string]string{"compose.yaml": "services:\n  web:\n    image: x\n    " + place + "\n  bad: {image: x, restart: never}\n"})
			if strings.HasPrefix(place, "image") {
				dir = folder(t, map[string]string{"compose.yaml": "services:\n  web:\n    " + place + "\n  bad: {image: x, restart: never}\n"})
			}
			_, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Secrets: opened(map[string]string{"THING": value})})
			var problems compose.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%s: no problems: %v", place, err)
			}
			for line := range strings.Lines(value) {
				if text := listed("error", problems); strings.Contains(text, strings.TrimSpace(line)) {
					t.Errorf("%s: the secret is in\n%s", place, text)
				}
			}
		}
	}
	dir := folder(t, map[string]string{"compose.yaml": `services:
  web:
    image: x
    build: {context: ., args: {ARG: "${THING}"}}
    command: ["serve", "${THING}"]
    labels: {a: "${THING}"}
    configs: [c]
configs:
  c: {content: "x = ${THING}"}
`})
	p := load(t, compose.Options{WorkingDir: dir, Secrets: opened(map[string]string{"THING": "correcthorsebattery"})})
	var lines []int
	for _, w := range p.Warnings {
		if strings.Contains(w.Message, "looks as if") {
			lines = append(lines, w.Line)
		}
	}
	if want := "[4 5 6 9]"; fmt.Sprint(lines) != want {
		t.Errorf("warnings on lines %v, want %s:\n%s", lines, want, listed("warning", p.Warnings))
	}
}
