package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values []float64
		want   float64
	}{
		"none": {nil, 0},
		"one":  {[]float64{3}, 3},
		"odd":  {[]float64{9, 1, 2}, 2},
		"even": {[]float64{4, 1, 2, 9}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := median(test.values); got != test.want {
				t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := &report{Rounds: 2}
	r.seconds("start", 1500*time.Millisecond)
	r.megabytes("memory", 340_000_000)
	r.seconds("start", 2500*time.Millisecond)
	r.percent("CPU", 3.25)
	r.count("failed", 0)
	var out strings.Builder
	r.table(&out)
	want := "" +
		"WHAT     MEDIAN     LEAST      MOST       TIMES\n" +
		"start    2.00 s     1.50 s     2.50 s     2\n" +
		"memory   340.0 MB   340.0 MB   340.0 MB   1\n" +
		"CPU      3.2 %      3.2 %      3.2 %      1\n" +
		"failed   0          0          0          1\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestPlatformLeavesContainersOut(t *testing.T) {
	t.Parallel()
	one := func(pid, parent int, args ...string) process { return process{pid: pid, parent: parent, args: args} }
	all := []process{
		one(1, 0, "/sbin/init"),
		one(9, 1, "/bin/sh", "-c", "again", "perch", "/usr/bin/perch", "node", "supervisor", "bench", "/var/lib/perch/bench"),
		one(10, 9, "/usr/bin/perch", "node", "supervisor", "bench", "/var/lib/perch/bench"),
		one(11, 1, "/usr/bin/perch", "node", "supervisor", "perch", "/var/lib/perch/perch"),
		one(12, 11, "/proc/self/exe", "node", "init"),
		one(20, 10, "/proc/self/exe", "node", "init"),
		one(21, 20, "/proc/self/exe", "node", "kubernetes", "/spec.json"),
		one(22, 20, "/var/lib/perch/bench/bin/containerd-shim-runc-v2", "-namespace", "k8s.io"),
		one(23, 22, "/pause"),
		one(24, 22, "/kube-native", "serve"),
		one(25, 24, "/kube-native", "child"),
	}
	var got []string
	for _, p := range platform(all, "bench") {
		got = append(got, p.role())
	}
	want := []string{"sh", "supervisor", "init", "kubernetes", "containerd-shim-runc-v2", "pause"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}

func TestTreeLeavesContainersOut(t *testing.T) {
	t.Parallel()
	one := func(pid, parent int, args ...string) process { return process{pid: pid, parent: parent, args: args} }
	all := []process{
		one(1, 0, "/sbin/init"), one(9, 1, "unshare"), one(10, 9, "bash"), one(11, 10, "/bin/etcd"), one(12, 1, "/bin/etcd"),
		one(20, 10, "/bin/containerd-shim-runc-v2"), one(21, 20, "/pause"), one(22, 20, "httpd"),
	}
	var got []int
	for _, p := range treeOf(all, 9) {
		got = append(got, p.pid)
	}
	if diff := cmp.Diff([]int{9, 10, 11, 20, 21}, got); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	r := &report{}
	r.seconds("start", 2*time.Second)
	r.seconds("start, apart", 5*time.Second)
	r.compare("start", "start, apart")
	r.compare("never taken", "start, apart")
	if diff := cmp.Diff([]ratio{{Name: "start, apart", Than: "start", Times: 2.5}}, r.Ratios); diff != "" {
		t.Errorf("ratios (-want +got):\n%s", diff)
	}
	var out strings.Builder
	r.table(&out)
	if want := "start, apart   2.5 times"; !strings.Contains(out.String(), want) {
		t.Errorf("the table lacks %q:\n%s", want, &out)
	}
}

func TestOwnProcess(t *testing.T) {
	t.Parallel()
	p, err := procFS("/proc").read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.parent != os.Getppid() || p.args[0] != os.Args[0] {
		t.Errorf("read %+v, want parent %d and program %q", p, os.Getppid(), os.Args[0])
	}
	if pss, err := procFS("/proc").pss(p.pid); err != nil || pss < 1<<20 {
		t.Errorf("this process uses %d bytes, %v", pss, err)
	}
}

func TestExampleHasTheLinesThatChange(t *testing.T) {
	t.Parallel()
	a, err := copyExample(t.Context(), "../../examples/kube-native", t.TempDir()+"/app")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.change("v2"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.source)
	if err != nil || !strings.Contains(string(text), `Set("X-Bench", "v2")`) {
		t.Errorf("the line was not changed, %v", err)
	}
}

func TestSetVariable(t *testing.T) {
	t.Parallel()
	a, err := copyExample(t.Context(), "../../examples/kube-native", t.TempDir()+"/app")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"one", "two"} {
		if err := errors.Join(a.set("BENCH", value), a.set("OTHER", "kept")); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(a.dir + "/compose.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "BENCH: "); n != 1 || !strings.Contains(string(text), fmt.Sprintf("      BENCH: %q\n", value)) {
			t.Errorf("with BENCH=%s set the file is\n%s", value, text)
		}
	}
}

func TestUnprepared(t *testing.T) {
	t.Parallel()
	const live = `{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"web:1","args":["serve"],
		"env":[{"name":"PORT","value":"4000"},{"name":"BENCH","value":"old"}],"envFrom":[{"secretRef":{"name":"s"}}],
		"readinessProbe":{"exec":{}},"lifecycle":{"preStop":{"sleep":{"seconds":3}}}}]}}}}`
	got, err := unprepared([]byte(live), "new")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"image":"web:1"`, `"args":["serve"]`, `{"name":"BENCH","value":"new"}`, `"replicas":3`, `"port":14001`, `"secretRef"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("it lacks %s: %s", want, got)
		}
	}
	for _, not := range []string{"Probe", "preStop", "old", "strategy"} {
		if strings.Contains(string(got), not) {
			t.Errorf("it has %s: %s", not, got)
		}
	}
}

// TestLoad wants each request counted, and a stream that ends when enough were sent.
func TestLoad(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Not the last of each thousand: the last of all may still be on its way when the stream ends, and then does not count.
		if seen.Add(1)%1000 == 500 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	l := startLoad(t.Context(), s.URL)
	if err := l.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.sent < rolloutRequests || l.failed < rolloutRequests/1000 || l.failed > l.sent/1000+rolloutWorkers || l.first == nil {
		t.Errorf("sent %d, failed %d, the first: %v", l.sent, l.failed, l.first)
	}
}
