package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
)

// state is how a test ended.
type state string

const (
	passed  state = "passed"
	failed  state = "failed"
	skipped state = "skipped" // by itself
	notRun  state = "not-run" // not since it was added or mended
)

// record is what came of each test when it was last run. As a file it is text: lines "# kubernetes: v1.37.2" and the like,
// then a line for each test, as "passed [sig-node] Pods should …", sorted by name.
type record struct {
	kubernetes string // version
	date       string // of the last run
	machine    string // that it ran on
	states     map[string]state
}

func (r *record) heads() []struct {
	name  string
	value *string
} {
	return []struct {
		name  string
		value *string
	}{{"kubernetes", &r.kubernetes}, {"date", &r.date}, {"machine", &r.machine}}
}

// readRecord reads a file; one that is not there is an empty record.
func readRecord(file string) (record, error) {
	r := record{states: map[string]state{}}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if head, ok := strings.CutPrefix(line, "# "); ok {
			name, value, _ := strings.Cut(head, ": ")
			for _, h := range r.heads() {
				if h.name == name {
					*h.value = value
				}
			}
			continue
		}
		s, name, ok := strings.Cut(line, " ")
		if !ok {
			return r, fmt.Errorf("%s: %q: no state and name of a test", file, line)
		}
		r.states[name] = state(s)
	}
	return r, nil
}

func (r record) write(file string) error {
	var text strings.Builder
	for _, h := range r.heads() {
		fmt.Fprintf(&text, "# %s: %s\n", h.name, *h.value)
	}
	for _, name := range sorted(r.states) {
		fmt.Fprintf(&text, "%s %s\n", r.states[name], name)
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}

// with is the record after a run. It has all tests that there are and that are not left out.
func (r record) with(outcomes map[string]outcome, all []string, l list) record {
	fresh := record{states: map[string]state{}}
	leftOut := reasons(l.LeftOut)
	for _, name := range all {
		if _, out := leftOut[name]; out {
			continue
		}
		if o, ran := outcomes[name]; ran {
			fresh.states[name] = o.state
		} else if old, known := r.states[name]; known {
			fresh.states[name] = old
		} else {
			fresh.states[name] = notRun
		}
	}
	return fresh
}

// machine is this one in a few words.
func machine() string {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	cgroup := "v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		cgroup = "v2"
	}
	return fmt.Sprintf("%d cores, Linux %s, cgroup %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), cgroup)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
