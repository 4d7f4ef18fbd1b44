package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// suite is how Kubernetes' end-to-end suite is run.
type suite struct {
	tests, ginkgo, kubectl string // programs
	registries             string // file for KUBE_TEST_REPO_LIST
	dir                    string // output of the last run
	procs                  int
	attempts               int // tries that a test has
	limit                  time.Duration
}

// outcome is what came of a test.
type outcome struct {
	state   state
	message string // of a failure
	took    time.Duration
	flaky   bool // it passed, but not at its first try
}

func (s suite) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), "KUBE_TEST_REPO_LIST="+s.registries)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // namespaces are removed then
	command.WaitDelay = time.Minute
	return command
}

// names are those of all conformance tests, sorted.
func (s suite) names(ctx context.Context) ([]string, error) {
	printed, err := s.command(ctx, s.tests, "--list-conformance-tests").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list-conformance-tests: %w", s.tests, err)
	}
	return namesIn(printed)
}

// namesIn reads the suite's own list: YAML, one entry a test.
func namesIn(printed []byte) ([]string, error) {
	var tests []struct {
		Codename string `json:"codename"`
	}
	if err := yaml.Unmarshal(printed, &tests); err != nil {
		return nil, fmt.Errorf("list of conformance tests: %w", err)
	}
	var all []string
	for _, t := range tests {
		all = append(all, t.Codename)
	}
	slices.Sort(all)
	return all, nil
}

// version is that of Kubernetes, which the suite is a part of.
func (s suite) version(ctx context.Context) (string, error) {
	printed, err := s.command(ctx, s.tests, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", s.tests, err)
	}
	return strings.TrimSpace(string(printed)), nil
}

// run runs the named tests, which takes minutes, and says each half minute that it still does. A test that was not run
// to its end has no outcome.
func (s suite) run(ctx context.Context, names []string, out io.Writer) (outcomes map[string]outcome, err error) {
	if len(names) == 0 {
		return nil, errors.New("no test was chosen")
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	report := filepath.Join(s.dir, "report.json")
	if err := os.RemoveAll(report); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "log.txt"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	command := s.command(ctx, s.ginkgo, "run", fmt.Sprint("--procs=", s.procs), fmt.Sprint("--timeout=", s.limit), "--grace-period=30s",
		fmt.Sprint("--flake-attempts=", s.attempts),
		"--no-color", "--silence-skips", "--json-report=report.json", "--output-dir="+s.dir, "--focus="+focus(names),
		s.tests, "--", "--provider=skeleton", "--kubectl-path="+s.kubectl)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, err
	}
	failed := wait(command, out)
	content, err := os.ReadFile(report)
	if err != nil { // it did not come to the end
		return nil, fmt.Errorf("%s: %w; see %s", s.ginkgo, failed, log.Name())
	}
	return outcomesIn(content, names)
}

func wait(command *exec.Cmd, out io.Writer) error {
	const sign = 30 * time.Second
	ended, started := make(chan error, 1), time.Now()
	go func() { ended <- command.Wait() }()
	ticks := time.NewTicker(sign)
	defer ticks.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ticks.C:
			fmt.Fprintf(out, "conformance: running for %s\n", time.Since(started).Round(time.Second))
		}
	}
}

// focus is a regexp of exactly these names. The suite's own name is before each.
func focus(names []string) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return " (" + strings.Join(quoted, "|") + ")$"
}

// outcomesIn reads Ginkgo's report in JSON: a list of suites, each a list of specs, most of which were not chosen.
func outcomesIn(report []byte, names []string) (map[string]outcome, error) {
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeText, State     string
			RunTime                 time.Duration // in nanoseconds
			NumAttempts             int
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(report, &suites); err != nil {
		return nil, fmt.Errorf("ginkgo's report: %w", err)
	}
	outcomes := map[string]outcome{}
	for _, s := range suites {
		for _, spec := range s.SpecReports {
			name := strings.Join(append(spec.ContainerHierarchyTexts, spec.LeafNodeText), " ")
			if !slices.Contains(names, name) {
				continue
			}
			o := outcome{message: spec.Failure.Message, took: spec.RunTime}
			switch spec.State {
			case "passed":
				o.state, o.flaky = passed, spec.NumAttempts > 1
			case "failed", "panicked":
				o.state = failed
			case "skipped":
				if o.message == "" {
					continue // had no time
				}
				o.state = skipped
			default:
				continue // interrupted
			}
			outcomes[name] = o
		}
	}
	return outcomes, nil
}
