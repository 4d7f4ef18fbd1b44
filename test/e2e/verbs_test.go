package e2e

import (
	"context"
	"encoding/json"

	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verbsFile is an application with a server, a service that runs to an end, and a job that fails when it is told to.
func verbsFile(port string) string {
	return `name: verbs
services:
  web:
    image: busybox:1.36
    command: [sh, -c, "trap exit TERM; httpd -p 8080 -h /etc; echo serving; while :; do sleep 1; done"]
    ports: ["` + port + `:8080"]
    environment: {GREETING: hello $$USER, API_TOKEN: ` + password + `}
    volumes: [data:/data]
    deploy: {resources: {limits: {memory: 64M}}}
  worker:
    image: busybox:1.36
    command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"]
  import:
    image: busybox:1.36
    command: [sh, -c, "echo imported; exit 0"]
    restart: "no"
jobs:
  report:
    image: busybox:1.36
    entrypoint: [sh, -c]
    command: [exit 0]
    triggers: {manual: true}
volumes: {data: {}}
`
}

// verbs is the application with which the daily verbs are tried.
type verbs struct {
	project
	node *node
	port string
}

// TestVerbs tries what people do with an application every day. One cluster serves all of it.
func TestVerbs(t *testing.T) {
	u := newUser(t, "v")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	port := freePort(t)
	v := &verbs{project: u.project(t, "verbs", map[string]string{"compose.yaml": verbsFile(port)}), node: n, port: port}
	v.up(t)
	t.Run("Run", func(t *testing.T) { testRunService(t, v) })
	t.Run("Interrupted", func(t *testing.T) { testRunInterrupted(t, v) })
	t.Run("Job", func(t *testing.T) { testRunJob(t, v) })
	t.Run("Look", func(t *testing.T) { testLook(t, v) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, v) })
	t.Run("Scale", func(t *testing.T) { testScale(t, v) })
	t.Run("Why", func(t *testing.T) { testWhy(t, v) })
}

// cmd is a run of perch in the application's folder.
func (v *verbs) cmd(args ...string) command { return command{dir: v.dir, args: args} }

// wantLines compares what a command printed on stdout.
func wantLines(t *testing.T, o outcome, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(append(lines, ""), "\n"), o.stdout); diff != "" {
		t.Errorf("%s: -want +got:\n%s", o.line, diff)
	}
}

// nothingLeft wants that nothing of a run is left but pods that are on their way out.
func (v *verbs) nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "nothing of the run is left", func(ctx context.Context) error {
		options := metav1.ListOptions{LabelSelector: "perch.dev/component in (run,job)"}
		core := v.node.api.CoreV1()
		jobs, err := v.node.api.BatchV1().Jobs("verbs").List(ctx, options)
		if err != nil {
			return err
		}
		config, err := core.ConfigMaps("verbs").List(ctx, options)
		if err != nil {
			return err
		}
		secrets, err := core.Secrets("verbs").List(ctx, options)
		if err != nil {
			return err
		}
		pods, err := core.Pods("verbs").List(ctx, options)
		if err != nil {
			return err
		}
		if n := len(jobs.Items) + len(config.Items) + len(secrets.Items) + len(pods.Items); n > 0 {
			return fmt.Errorf("%d jobs, %d config maps, %d secrets and %d pods", len(jobs.Items), len(config.Items), len(secrets.Items), len(pods.Items))
		}
		return nil
	})
}

func testRunService(t *testing.T, v *verbs) {
	const script = `echo "$GREETING $API_TOKEN"; id -u; pwd; echo "$EXTRA"; echo kept > /data/kept; printf err >&2; cat; exit 7`
	o := v.want(t, 7, command{
		dir: v.dir, stdin: strings.NewReader("in\x00put, to the byte"), private: true,
		args: []string{"run", "-T", "-e", "EXTRA=a b", "-w", "/tmp", "-u", "0", "web", "sh", "-c", script},
	})
	if diff := cmp.Diff("hello $USER "+password+"\n0\n/tmp\na b\nin\x00put, to the byte", o.stdout); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantText(t, o.stderr, "\nerr")
	wantLines(t, v.run(t, "exec", "-T", "web", "cat", "/data/kept"), "kept")
	wantLines(t, v.run(t, "run", "--entrypoint", "echo", "worker", "a", "$(b)", "c d"), "a $(b) c d")
	wantText(t, v.want(t, 127, v.cmd("run", "worker", "nosuch")).stderr, "nosuch: not found")
	v.nothingLeft(t)
}

// testRunInterrupted has a run get no requests that are meant for the service, and be gone after Ctrl-C.
func testRunInterrupted(t *testing.T, v *verbs) {
	p := v.start(t, v.cmd("run", "--no-deps", "web", "sh", "-c", "trap exit TERM; echo begun; while :; do sleep 1; done"))
	p.says(t, time.Minute, "begun")
	pods, err := v.node.api.CoreV1().Pods("verbs").List(t.Context(), metav1.ListOptions{LabelSelector: "perch.dev/component=run"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("there are %d pods of the run: %v", len(pods.Items), err)
	}
	slices, err := v.node.api.DiscoveryV1().EndpointSlices("verbs").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && e.TargetRef.Name == pods.Items[0].Name {
				t.Errorf("pod %s is behind service %s", e.TargetRef.Name, s.Labels["kubernetes.io/service-name"])
			}
		}
	}
	p.interrupt(t)
	if o := p.end(); o.code != 130 {
		t.Errorf("wanted exit code 130: %s", o)
	}
	v.nothingLeft(t)
}

// testRunJob has runs of a job go when they end well, and the last one that failed stay.
func testRunJob(t *testing.T, v *verbs) {
	v.run(t, "run", "report")
	v.nothingLeft(t)
	v.want(t, 3, v.cmd("run", "report", "exit 3"))
	v.want(t, 4, v.cmd("run", "report", "--", "exit 4"))
	jobs, err := v.node.api.BatchV1().Jobs("verbs").List(t.Context(), metav1.ListOptions{LabelSelector: "perch.dev/component=job"})
	if err != nil || len(jobs.Items) != 1 {
		t.Fatalf("there are %d failed runs, wanted the last one: %v", len(jobs.Items), err)
	}
	v.run(t, "run", "report")
	v.nothingLeft(t)
}

// testLook is what only looks.
func testLook(t *testing.T, v *verbs) {
	wantLines(t, v.run(t, "port", "web", "8080"), "127.0.0.1:"+v.port)
	wantLines(t, v.run(t, "port", "web"), "8080/tcp -> 127.0.0.1:"+v.port)
	v.want(t, 1, v.cmd("port", "worker"))
	wantLines(t, v.run(t, "wait", "import"), "service import exited with code 0")
	v.want(t, 2, v.cmd("wait", "web"))
	wantLines(t, v.run(t, "ls", "-q"), "verbs")
	wantText(t, v.run(t, "ls").stdout, "import, web, worker")

	var stats []struct {
		Service             string
		Memory, MemoryLimit int64
	}
	eventually(t, 30*time.Second, "the kubelet has measured", func(context.Context) error {
		decode(t, v.run(t, "stats", "web", "-o", "json", "--no-stream"), &stats)
		if len(stats) != 1 || stats[0].Memory == 0 || stats[0].MemoryLimit != 64<<20 {
			return fmt.Errorf("stats are %v", stats)
		}
		return nil
	})
	url := "http://127.0.0.1:" + v.port + "/"
	wantLines(t, v.want(t, 0, command{dir: v.dir, args: []string{"open"}, env: []string{"BROWSER=", "DISPLAY=", "WAYLAND_DISPLAY="}}), url)
	browser := filepath.Join(v.dir, "browser")
	if err := os.WriteFile(browser, []byte("#!/bin/sh\necho \"$@\" > "+v.dir+"/opened\n"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	v.want(t, 0, command{dir: v.dir, args: []string{"open", "web"}, env: []string{"BROWSER=nosuch:" + browser + " --new %s"}})
	eventually(t, 10*time.Second, "the browser has run", func(context.Context) error {
		data, err := os.ReadFile(filepath.Join(v.dir, "opened"))
		if err == nil && string(data) != "--new "+url+"\n" {
			err = fmt.Errorf("it was given %q", data)
		}
		return err
	})
}

func decode(t *testing.T, o outcome, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.stdout), to); err != nil {
		t.Fatalf("%v: %s", err, o)
	}
}

// testRestart gives services other pods; when it ends, they serve.
func testRestart(t *testing.T, v *verbs) {
	before := v.node.podIDs(t, "verbs")
	v.run(t, "restart", "web", "worker")
	v.node.ready(t, "verbs", "web", 1)
	v.node.ready(t, "verbs", "worker", 1)
	same := 0
	for _, id := range v.node.podIDs(t, "verbs") {
		for _, old := range before {
			if id == old && !strings.HasPrefix(id, "import-") {
				same++
			}
		}
	}
	if same > 0 {
		t.Errorf("%d pods are those from before", same)
	}
	r, err := http.Get("http://127.0.0.1:" + v.port + "/passwd") //nolint:noctx // it is there
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v: %s", r.StatusCode, err, text)
	}
}

// testScale scales a service that is up until its next deploy, and for one deploy.
func testScale(t *testing.T, v *verbs) {
	wantText(t, v.run(t, "scale", "worker=3").stderr, "the next deploy of worker goes back")
	v.node.ready(t, "verbs", "worker", 3)
	v.run(t, "up", "-d", "--scale", "worker=2")
	eventually(t, 30*time.Second, "two workers are left", func(ctx context.Context) error {
		pods, err := v.node.pods(ctx, "verbs", "worker")
		if err == nil && len(pods) != 2 {
			err = fmt.Errorf("there are %d", len(pods))
		}
		return err
	})
	v.up(t)
	if n := *v.node.deployment(t, "verbs", "worker").Spec.Replicas; n != 1 {
		t.Errorf("after an up without --scale there are %d replicas", n)
	}
	wantText(t, v.want(t, 2, v.cmd("scale", "import=2")).stderr, `service "import" is a job`)
}

// testWhy breaks one service and wants to be told which, why and what to do; and that the others are well.
func testWhy(t *testing.T, v *verbs) {
	wantText(t, v.run(t, "why").stdout, "service web: well, 1/1 ready")
	v.replace(t, "compose.yaml", `[sh, -c, "trap exit TERM; while :; do sleep 1; done"]`, `[sh, -c, "echo no config; exit 3"]`)
	v.want(t, 13, v.cmd("up", "-d"))
	o := v.want(t, 1, v.cmd("why"))
	wantText(t, o.stdout, "exited with code 3")
	wantText(t, o.stdout, "    no config\n")
	wantText(t, o.stdout, "next:  perch logs worker")
	wantText(t, o.stdout, "service web: well")
	var found []struct {
		Service, Cause string
		Well           bool
	}
	decode(t, v.want(t, 1, v.cmd("why", "worker", "-o", "json")), &found)
	if len(found) != 1 || found[0].Well || found[0].Cause != "crash" {
		t.Errorf("found %v", found)
	}
	v.run(t, "why", "web")
	v.run(t, "down", "-v", "-y")
	wantText(t, v.want(t, 1, v.cmd("why", "web")).stdout, "service web: it is not deployed")
	if _, err := v.node.api.CoreV1().Namespaces().Get(t.Context(), "verbs", metav1.GetOptions{}); err == nil {
		t.Error("the namespace is still there")
	}
}
