package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// waiting is an application that is ready only when READY is set: without it, up waits for as long as one likes.
const waiting = `
name: %[1]s
services:
  one:
    image: busybox:1.36
    command: ["sh", "-c", "if [ -n \"$$READY\" ]; then touch /tmp/ready; fi; trap exit TERM; while :; do sleep 1; done"]
    environment:
      READY: ${READY:-}
    healthcheck:
      test: ["CMD", "test", "-e", "/tmp/ready"]
      interval: 1s
      retries: 1000
    stop_grace_period: 2s
`

// testEnded ends `perch up` in the middle: nothing must be half done, and the next run must work.
func testEnded(t *testing.T, n *node) {
	t.Run("Ctrl-C in a build", func(t *testing.T) { testInterruptedBuild(t, n) })
	for name, end := range map[string]func(t *testing.T, p *process){
		"Ctrl-C": func(t *testing.T, p *process) {
			p.interrupt(t)
			if r := p.endWithin(t, 15*time.Second); r.code != 130 {
				t.Errorf("it ended with %s", r)
			}
		},
		"kill -9": func(t *testing.T, p *process) { p.kill(t) },
	} {
		word := map[string]string{"Ctrl-C": "interrupted", "kill -9": "killed"}[name]
		t.Run(name+" in a rollout", func(t *testing.T) { testEndedRollout(t, n, word+"-rollout", end) })
		t.Run(name+" in a migration", func(t *testing.T) { testEndedMigration(t, n, word+"-migration", end) })
	}
}

func testInterruptedBuild(t *testing.T, n *node) {
	const sleep = "sleep 31415" // nothing else sleeps so long
	p := n.project(t, "interrupted-build", map[string]string{
		"compose.yaml": "name: interrupted-build\nservices:\n  one:\n    build: .\n    command: [\"httpd\", \"-f\"]\n    expose: [\"80\"]\n    stop_grace_period: 1s\n",
		"Dockerfile":   "FROM busybox:1.36\nRUN " + sleep + "\n",
	})
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}})
	eventually(t, 30*time.Second, "the build step runs", func(context.Context) error { return n.runs(sleep) })
	up.interrupt(t)
	r := up.endWithin(t, 15*time.Second)
	if n.namespaceExists(t, "interrupted-build") {
		t.Error("something was deployed")
	}
	eventually(t, 5*time.Second, "the build step has ended", func(context.Context) error {
		if n.runs(sleep) == nil {
			return fmt.Errorf("%q runs on", sleep)
		}
		return nil
	})
	if r.code != 130 {
		t.Errorf("it ended with %s", r)
	}
	wantText(t, r.stderr, "interrupted")
	p.write(t, "Dockerfile", "FROM busybox:1.36\n")
	p.up(t)
	n.ready(t, "interrupted-build", "one", 1)
	p.run(t, "down")
}

// runs says whether a process of the sandbox has that text in its command line; the error says that none has.
func (u *user) runs(text string) error {
	for _, p := range u.inside() {
		if strings.Contains(strings.Join(p.args, " "), text) {
			return nil
		}
	}
	return fmt.Errorf("no process of the node is %q", text)
}

func testEndedRollout(t *testing.T, n *node, name string, end func(t *testing.T, p *process)) {
	p := n.project(t, name, map[string]string{"compose.yaml": fmt.Sprintf(waiting, name)})
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}})
	eventually(t, 30*time.Second, "the pod runs", func(ctx context.Context) error {
		pods, err := n.pods(ctx, name, "one")
		if err != nil {
			return err
		}
		if len(pods) != 1 || pods[0].Status.Phase != "Running" {
			return fmt.Errorf("the pods are %v", pods)
		}
		return nil
	})
	end(t, up)
	r := p.up(t, "READY=yes")
	if r.took > 30*time.Second {
		t.Errorf("the next run took %s", r.took)
	}
	n.ready(t, name, "one", 1)
	p.run(t, "down")
}

// testEndedMigration leaves a migration Job that runs. The next run takes it up or replaces it, and does not collide.
func testEndedMigration(t *testing.T, n *node, name string, end func(t *testing.T, p *process)) {
	const migration = "    pre_start:\n      - command: [\"sh\", \"-c\", \"echo migration begins; sleep 5; echo migration ends\"]\n"
	p := n.project(t, name, map[string]string{"compose.yaml": fmt.Sprintf(waiting, name) + migration})
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}, env: []string{"READY=yes"}})
	up.says(t, 30*time.Second, "migration begins")
	end(t, up)
	if pods, err := n.pods(t.Context(), name, "one"); err != nil || len(pods) > 1 {
		t.Errorf("the service was rolled out before its migration: %v, %v", pods, err)
	}
	p.up(t, "READY=yes")
	n.ready(t, name, "one", 1)
	p.run(t, "down")
}
