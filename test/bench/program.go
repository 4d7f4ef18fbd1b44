package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// program is a command line program as a user runs it.
type program struct {
	path   string
	before []string // arguments that come before all others
	dir    string
	env    []string
}

// run runs it to its end and says how long that took.
func (p program) run(ctx context.Context, args ...string) (time.Duration, error) {
	began := time.Now()
	_, err := p.output(ctx, args...)
	return time.Since(began), err
}

func (p program) output(ctx context.Context, args ...string) ([]byte, error) {
	return p.feed(ctx, "", args...)
}

// feed runs it with text on its standard input.
func (p program) feed(ctx context.Context, text string, args ...string) ([]byte, error) {
	args = slices.Concat(p.before, args)
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = p.dir, p.env, strings.NewReader(text)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", p.path, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// with is the program with arguments that come before all others.
func (p program) with(args ...string) program {
	p.before = slices.Concat(p.before, args)
	return p
}

// variable is the value of an environment variable that it runs with: of two of one name, the last.
func (p program) variable(name string) string {
	for _, entry := range slices.Backward(p.env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// status is what `perch cluster status -o json` says, as far as it is used here.
type status struct {
	Running    bool      `json:"running"`
	State      string    `json:"state"` // of the whole
	Started    time.Time `json:"started"`
	Components []struct {
		Name  string    `json:"name"`
		State string    `json:"state"`
		Since time.Time `json:"since"`
	} `json:"components"`
}

func (p program) status(ctx context.Context) (status, error) {
	var s status
	out, err := p.output(ctx, "cluster", "status", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// phase is one component and how long after the start it was ready.
type phase struct {
	name  string
	after time.Duration
}

// phases are the components that are ready, in the order in which they became so.
func (s status) phases() []phase {
	var phases []phase
	for _, c := range s.Components {
		if c.State == "ready" {
			phases = append(phases, phase{c.Name, c.Since.Sub(s.Started)})
		}
	}
	slices.SortFunc(phases, func(a, b phase) int { return cmp.Compare(a.after, b.after) })
	return phases
}
