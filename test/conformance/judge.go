package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// verdict is what is to be said of a run. All are names of tests, sorted.
type verdict struct {
	passed     []string
	failed     []string // and should not have
	knownFails []string
	mended     []string // passed, though known to fail
	flaky      []string // passed, and among those, but not at the first try
	skipped    []string // the test itself found that it cannot run here, and is not left out
	notRun     []string // time was up

	outcomes map[string]outcome
}

func judge(chosen []string, outcomes map[string]outcome, l list) verdict {
	v := verdict{outcomes: outcomes}
	known := reasons(l.Failing)
	for _, name := range chosen {
		_, knownToFail := known[name]
		o, ran := outcomes[name]
		switch {
		case !ran:
			v.notRun = append(v.notRun, name)
		case o.state == skipped:
			v.skipped = append(v.skipped, name)
		case o.state == failed && knownToFail:
			v.knownFails = append(v.knownFails, name)
		case o.state == failed:
			v.failed = append(v.failed, name)
		default:
			v.passed = append(v.passed, name)
			if o.flaky {
				v.flaky = append(v.flaky, name)
			}
			if knownToFail {
				v.mended = append(v.mended, name)
			}
		}
	}
	return v
}

func (v verdict) print(out io.Writer) {
	for _, name := range slices.Concat(v.failed, v.skipped) {
		o := v.outcomes[name]
		fmt.Fprintf(out, "%s after %.0f s: %s\n%s\n", o.state, o.took.Seconds(), name, indent(firstLines(o.message, 20)))
	}
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"fails, as is known", v.knownFails}, {"passes, though list.yaml says that it fails", v.mended}, {"not run, time was up", v.notRun},
		{"flaky, passed at a later try only", v.flaky},
	} {
		for _, name := range part.names {
			fmt.Fprintf(out, "%s: %s\n", part.what, name)
		}
	}
	fmt.Fprintf(out, "conformance: %d passed, %d failed, %d failed as is known, %d could not run, %d were not run\n",
		len(v.passed), len(v.failed), len(v.knownFails), len(v.skipped), len(v.notRun))
}

// err says whether the run is as it should be.
func (v verdict) err() error {
	if n := len(v.failed) + len(v.skipped) + len(v.mended) + len(v.notRun); n > 0 {
		return errors.New("not all tests are as list.yaml says")
	}
	return nil
}

func firstLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
