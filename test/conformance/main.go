// Command conformance runs the conformance tests of Kubernetes' own end-to-end suite against the cluster that the
// environment names, and says which passed. Which are left out, which are known to fail and which make up the quick part
// is in list.yaml; what came of all of them, as it was last recorded, in results.txt, and for people in
// docs/conformance.md. It must not be part of the product, and knows of it nothing but a kubeconfig.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	suite               suite
	choice              choice
	list, results, page string // files
	record              bool   // bring results and page up to date
}

func parse(args []string) (settings, error) {
	var s settings
	var only string
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.StringVar(&s.suite.tests, "suite", ".cache/tools/e2e.test", "the suite, as a `program`")
	flags.StringVar(&s.suite.ginkgo, "ginkgo", ".cache/tools/ginkgo", "the `program` that runs it in several processes")
	flags.StringVar(&s.suite.kubectl, "kubectl", ".cache/tools/kubectl", "the `program` that tests of kubectl run")
	flags.StringVar(&s.suite.dir, "o", ".cache/conformance", "`folder` for the suite's output and reports")
	flags.StringVar(&s.suite.registries, "registries", "test/conformance/registries.yaml", "`file` with the registries of the suite's images")
	flags.IntVar(&s.suite.procs, "procs", 4, "how `many` tests at once")
	flags.IntVar(&s.suite.attempts, "attempts", 1, "how `many` tries a test has")
	flags.DurationVar(&s.suite.limit, "limit", 2*time.Hour, "when to stop")
	flags.StringVar(&s.list, "list", "test/conformance/list.yaml", "`file` with what is left out, known to fail, and quick")
	flags.BoolVar(&s.choice.quick, "quick", false, "run the quick part")
	flags.StringVar(&only, "run", "", "run the tests whose name matches this `regexp`")
	flags.BoolVar(&s.choice.missing, "missing", false, "run the tests that the record has no success of")
	flags.StringVar(&s.results, "results", "test/conformance/results.txt", "`file` with what came of each test")
	flags.StringVar(&s.page, "page", "docs/conformance.md", "`file` with the same for people")
	flags.BoolVar(&s.record, "record", false, "bring both up to date")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	for _, path := range []*string{&s.suite.tests, &s.suite.ginkgo, &s.suite.kubectl, &s.suite.dir, &s.suite.registries} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return s, err
		}
	}
	var err error
	s.choice.only, err = regexp.Compile(only)
	return s, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	list, err := readList(s.list)
	if err != nil {
		return err
	}
	old, err := readRecord(s.results)
	if err != nil {
		return err
	}
	all, err := s.suite.names(ctx)
	if err != nil {
		return err
	}
	if err := list.check(all); err != nil {
		return fmt.Errorf("%s: %w", s.list, err)
	}
	chosen := s.choice.of(all, list, old)
	fmt.Fprintf(out, "conformance: %d of %d tests, %d at once; output in %s\n", len(chosen), len(all), s.suite.procs, s.suite.dir)
	outcomes, err := s.suite.run(ctx, chosen, out)
	if err != nil {
		return err
	}
	v := judge(chosen, outcomes, list)
	v.print(out)
	if s.record {
		version, err := s.suite.version(ctx)
		if err != nil {
			return err
		}
		fresh := old.with(outcomes, all, list)
		fresh.kubernetes, fresh.date, fresh.machine = version, time.Now().UTC().Format("2 January 2006"), machine()
		if err := errors.Join(fresh.write(s.results), writePage(s.page, fresh, list)); err != nil {
			return err
		}
	}
	return v.err()
}
