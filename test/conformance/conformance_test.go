package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const (
	pods    = "[sig-node] Pods should be updated [NodeConformance] [Conformance]"
	dns     = "[sig-network] DNS should provide DNS for the cluster [Conformance]"
	proxy   = "[sig-network] Proxy should (once) answer [Conformance]"
	twoNode = "[sig-apps] Two nodes [Serial] [Conformance]"
)

func all() []string { return []string{twoNode, dns, proxy, pods} }

func testList() list {
	return list{
		LeftOut: []group{{Reason: "needs two nodes", Tests: []string{twoNode}}},
		Failing: []group{{Reason: "our defect", Tests: []string{proxy}}},
		Quick:   []string{pods},
	}
}

func TestChoice(t *testing.T) {
	t.Parallel()
	had := record{states: map[string]state{pods: passed, dns: failed}}
	for name, c := range map[string]struct {
		choice choice
		want   []string
	}{
		"all but what is left out": {choice{only: regexp.MustCompile("")}, []string{dns, proxy, pods}},
		"quick":                    {choice{only: regexp.MustCompile(""), quick: true}, []string{pods}},
		"by name":                  {choice{only: regexp.MustCompile("sig-network|Two nodes")}, []string{dns, proxy}},
		"missing":                  {choice{only: regexp.MustCompile(""), missing: true}, []string{dns, proxy}},
	} {
		if diff := cmp.Diff(c.want, c.choice.of(all(), testList(), had)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestListIsChecked(t *testing.T) {
	t.Parallel()
	if err := testList().check(all()); err != nil {
		t.Error(err)
	}
	l := testList()
	l.Quick = append(l.Quick, twoNode)
	l.Failing = append(l.Failing, group{Tests: []string{"[sig-node] gone", pods}})
	err := l.check(all())
	for _, want := range []string{"no reason", "quick, and also left out", "no such test: \"[sig-node] gone\""} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
}

// The suite's name is before a test's when Ginkgo matches.
func TestFocus(t *testing.T) {
	t.Parallel()
	f := regexp.MustCompile(focus([]string{pods, proxy}))
	for _, name := range []string{pods, proxy} {
		if !f.MatchString("Kubernetes e2e suite " + name) {
			t.Errorf("not chosen: %s", name)
		}
	}
	for _, name := range []string{dns, pods + " [Slow]"} {
		if f.MatchString("Kubernetes e2e suite " + name) {
			t.Errorf("chosen: %s", name)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	got, err := namesIn([]byte("- testname: b\n  codename: '[sig-b] it''s\n    folded [Conformance]'\n- testname: a\n  codename: '[sig-a] a [Conformance]'\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"[sig-a] a [Conformance]", "[sig-b] it's folded [Conformance]"}, got); diff != "" {
		t.Error(diff)
	}
}

// spec is one test in Ginkgo's report.
func spec(name, state, message string) map[string]any {
	container, leaf, _ := strings.Cut(name, " should ")
	return map[string]any{
		"ContainerHierarchyTexts": []string{container}, "LeafNodeText": "should " + leaf, "State": state, "RunTime": 2e9,
		"Failure": map[string]any{"Message": message},
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	second := spec(pods, "passed", "")
	second["NumAttempts"] = 2
	report, err := json.Marshal([]map[string]any{{"SpecReports": []any{
		second, spec(dns, "skipped", ""), spec(proxy, "failed", "no answer"), spec("[sig-x] x should y", "passed", ""),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	chosen := []string{dns, proxy, pods}
	outcomes, err := outcomesIn(report, chosen)
	if err != nil {
		t.Fatal(err)
	}
	v := judge(chosen, outcomes, testList())
	var out bytes.Buffer
	v.print(&out)
	want := "fails, as is known: " + proxy + "\nnot run, time was up: " + dns + "\nflaky, passed at a later try only: " + pods +
		"\nconformance: 1 passed, 0 failed, 1 failed as is known, 0 could not run, 1 were not run\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if v.err() == nil {
		t.Error("a test that was not run is no success")
	}
	for name, c := range map[string]struct {
		state state
		test  string
		fails bool
	}{
		"a known failure": {failed, proxy, false}, "a known failure that passes": {passed, proxy, true}, "a failure": {failed, pods, true},
		"a test that finds it cannot run": {skipped, pods, true}, "a success": {passed, pods, false},
	} {
		err := judge([]string{c.test}, map[string]outcome{c.test: {state: c.state}}, testList()).err()
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "results.txt")
	empty, err := readRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	first := empty.with(map[string]outcome{pods: {state: passed}, dns: {state: failed}, twoNode: {state: passed}}, all(), testList())
	first.kubernetes, first.date, first.machine = "v1.2.3", "1 May 2026", "2 cores"
	if err := first.write(file); err != nil {
		t.Fatal(err)
	}
	read, err := readRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, read, cmp.AllowUnexported(record{})); diff != "" {
		t.Errorf("what was written is not what is read: %s", diff)
	}
	second := read.with(map[string]outcome{dns: {state: passed}}, all(), testList())
	if diff := cmp.Diff(map[string]state{pods: passed, dns: passed, proxy: notRun}, second.states); diff != "" {
		t.Errorf("a part that was run again: %s", diff)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	const later = "[sig-node] later"
	groups, sum := counts(record{states: map[string]state{pods: passed, dns: failed, proxy: passed, later: notRun}}, testList())
	want := []*count{
		{Name: "sig-apps", Tests: 1, LeftOut: 1}, {Name: "sig-network", Tests: 2, Passed: 1, Failed: 1}, {Name: "sig-node", Tests: 2, Passed: 1, NotRun: 1},
	}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&count{Tests: 5, Passed: 2, Failed: 1, LeftOut: 1, NotRun: 1}, sum); diff != "" {
		t.Error(diff)
	}
}

// The page is what the record and the list say: whoever edits one of them runs this with UPDATE=1.
func TestPage(t *testing.T) {
	t.Parallel()
	const file = "../../docs/conformance.md"
	l, err := readList("list.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := readRecord("results.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := sorted(r.states)
	for _, g := range l.LeftOut {
		known = append(known, g.Tests...)
	}
	if err := l.check(known); err != nil {
		t.Errorf("list.yaml: %v", err)
	}
	want, err := page(r, l)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/conformance.md is not up to date, run UPDATE=1 go test -run TestPage ./test/conformance; -want +got\n%s", diff)
	}
}

// The suite is of the version of Kubernetes that is carried, and is built from what the node is built from: else its
// thousands of packages would be compiled twice.
func TestModuleOfTheSuite(t *testing.T) {
	t.Parallel()
	ours, theirs := requirements(t, "../../go.mod"), requirements(t, "suite/go.mod")
	if len(theirs) < 100 {
		t.Errorf("the suite requires %d modules", len(theirs))
	}
	for _, path := range sorted(theirs) {
		if version, shared := ours[path]; shared && semver.Compare(theirs[path], version) < 0 {
			t.Errorf("%s: %s in suite/go.mod, %s in go.mod: run go get %[1]s@%[3]s in test/conformance/suite", path, theirs[path], version)
		}
	}
}

// requirements are the versions that a go.mod asks for; a replacement by another version counts.
func requirements(t *testing.T, file string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.Parse(file, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range parsed.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range parsed.Replace {
		if _, required := versions[r.Old.Path]; required {
			versions[r.Old.Path] = r.New.Version
		}
	}
	return versions
}
