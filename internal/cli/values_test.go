package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestSeconds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{"30": 30 * time.Second, "5m": 5 * time.Minute, "0": 0, "1m30s": 90 * time.Second} {
		var s seconds
		if err := s.Set(in); err != nil || time.Duration(s) != want {
			t.Errorf("%q: %v, %v, want %v", in, time.Duration(s), err, want)
		}
	}
	for _, in := range []string{"soon", "-5", "-5s", ""} {
		var s seconds
		if err := s.Set(in); err == nil {
			t.Errorf("%q: taken as %v", in, time.Duration(s))
		}
	}
	five := seconds(5 * time.Minute)
	if five.String() != "5m" {
		t.Errorf("5 minutes are %q", five.String())
	}
}

func TestTailAndSince(t *testing.T) {
	t.Parallel()
	var lines tail
	for in, want := range map[string]tail{"all": -1, "0": 0, "100": 100} {
		if err := lines.Set(in); err != nil || lines != want {
			t.Errorf("%q: %v, %v", in, lines, err)
		}
	}
	if lines.Set("-3") == nil || lines.Set("x") == nil {
		t.Error("-3 or x taken")
	}
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	s := since{now: func() time.Time { return now }}
	for in, want := range map[string]time.Duration{"10m": 10 * time.Minute, "2026-01-02T14:30:00Z": 30 * time.Minute} {
		if err := s.Set(in); err != nil || s.ago != want {
			t.Errorf("%q: %v, %v", in, s.ago, err)
		}
	}
	if s.Set("yesterday") == nil {
		t.Error("yesterday taken")
	}
}

func TestLogPrefix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	p := logPrefix{out: &b}
	p.print("shop-web-5d4f8b7c9d-x7k2p", "web", "hello")
	p.print("shop-postgres-0", "postgres", "ready")
	p.print("shop-web-5d4f8b7c9d-x7k2p", "web", "again")
	want := "web-x7k2p | hello\npostgres-0 | ready\nweb-x7k2p  | again\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	b.Reset()
	p.color = true
	p.print("shop-web-5d4f8b7c9d-x7k2p", "web", "hello")
	if !strings.HasPrefix(b.String(), "\x1b[") || !strings.HasSuffix(b.String(), "\x1b[0mhello\n") {
		t.Errorf("coloured: %q", b.String())
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	flags.Bool("build", false, "")
	flags.Bool("no-build", false, "")
	flags.String("timeout", "", "")
	for in, want := range map[string]string{"buld": "build", "biuld": "build", "time-out": "timeout", "xyz": "", "no-biuld": "no-build"} {
		if got := nearest(in, flags); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestGlobals gives flags on the command line and in the environment: each is read as documented, the line first.
func TestGlobals(t *testing.T) {
	t.Parallel()
	g := newGlobals()
	before, after := pflag.NewFlagSet("root", pflag.ContinueOnError), pflag.NewFlagSet("logs", pflag.ContinueOnError)
	follow := after.BoolP("follow", "f", false, "")
	g.addTo(before)
	g.addTo(after)
	if err := before.Parse([]string{"-f", "a.yaml", "-p", "shop"}); err != nil {
		t.Fatal(err)
	}
	if err := after.Parse([]string{"--file", "b.yaml", "-f", "-y"}); err != nil {
		t.Fatal(err)
	}
	err := g.fromEnvironment(Env{Environ: []string{"PERCH_PROJECT_NAME=other", "PERCH_PROFILE=dev,test", "PERCH_DRY_RUN=1", "PERCH_FILE=c.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Files, Profiles  []string
		Project          string
		Follow, Yes, Dry bool
	}
	want := result{[]string{"a.yaml", "b.yaml"}, []string{"dev", "test"}, "shop", true, true, true}
	got := result{g.files, g.profiles, g.projectName, *follow, g.yes, g.dryRun}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPrefixAndSize(t *testing.T) {
	t.Parallel()
	var p prefix
	if p.String() != "" || p.Set("172.30.240.9/24") != nil || p.String() != "172.30.240.0/24" {
		t.Errorf("got %s", p.String())
	}
	if p.Set("172.30.240.0") == nil || p.Set("") == nil {
		t.Error("an address or nothing is taken for a network")
	}
	for in, want := range map[string]size{"20GB": 20e9, "1.5g": 15e8, "500MB": 5e8, "1000000000": 1e9} {
		var s size
		if err := s.Set(in); err != nil || s != want {
			t.Errorf("%q: %d, %v", in, s, err)
		}
	}
	for _, in := range []string{"-1GB", "0", "much", ""} {
		var s size
		if s.Set(in) == nil {
			t.Errorf("%q: taken as %d", in, s)
		}
	}
}
