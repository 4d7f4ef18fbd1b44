package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// buckets is the shape of a file of object storage: one service makes buckets and ends, and no key says so.
const buckets = `name: once
services:
  store:
    image: busybox:1.36
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    stop_grace_period: 2s
  make-buckets:
    image: busybox:1.36
    depends_on: [store]
    entrypoint: ["sh", "-c", "echo buckets are made; exit 0"]
  web:
    image: busybox:1.36
    depends_on: [make-buckets]
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    stop_grace_period: 2s
`

// TestDeploys brings up what is deployed in another way than its file alone says.
func TestDeploys(t *testing.T) {
	u := newUser(t, "deploys")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	t.Run("EndsWell", func(t *testing.T) { testEndsWell(t, n) })
	t.Run("Elsewhere", func(t *testing.T) { testElsewhere(t, n) })
	t.Run("AppliedByHand", func(t *testing.T) { testAppliedByHand(t, n) })
}

// testEndsWell has a service that ends well, of which the file does not say that it may: Compose lets it.
func testEndsWell(t *testing.T, n *node) {
	p := n.project(t, "once", map[string]string{"compose.yaml": buckets})

	first := p.up(t)
	wantText(t, first.stderr, "service make-buckets: warning: it ended with code 0, and restart is not given: it runs once, as a Job; "+
		`restart: "no" says so from the start`)
	n.ready(t, "once", "web", 1)
	deployments, err := n.api.AppsV1().Deployments("once").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=make-buckets"})
	if err != nil || len(deployments.Items) != 0 {
		t.Errorf("deployments %v, error %v", deployments, err)
	}
	wantText(t, p.run(t, "logs", "make-buckets").stdout, "buckets are made")
	wantText(t, p.up(t).stderr, "nothing changed")
	wantText(t, p.run(t, "plan").stdout, "nothing would change")

	// Another program is not taken for one that ends.
	p.write(t, "compose.override.yaml", `services: {make-buckets: {entrypoint: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]}}`)
	p.up(t)
	n.ready(t, "once", "make-buckets", 1)

	// One that served should not have ended.
	p.write(t, "compose.override.yaml", `services: {make-buckets: {entrypoint: ["sh", "-c", "exit 0"]}}`)
	p.want(t, 13, command{dir: p.dir, args: []string{"up", "-d"}})
}

// testElsewhere has a project in another namespace than its own: every verb finds it there.
func testElsewhere(t *testing.T, n *node) {
	p := n.project(t, "here", map[string]string{"compose.yaml": `name: here
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "echo it serves; trap exit TERM; while :; do sleep 1; done"]
    environment: {TEXT: one}
    pre_start: [{command: [echo, it migrates]}]
    volumes: ["data:/data"]
    stop_grace_period: 2s
volumes: {data: {}}
`})
	p.run(t, "up", "-d", "-n", "elsewhere")
	n.ready(t, "elsewhere", "web", 1)
	if n.namespaceExists(t, "here") {
		t.Error("it is in its own namespace too")
	}
	wantText(t, p.run(t, "up", "-d", "-n", "elsewhere").stderr, "nothing changed")
	wantText(t, p.run(t, "ps", "-n", "elsewhere").stdout, "web", "Running")
	wantText(t, p.run(t, "logs", "-n", "elsewhere").stdout, "it serves")
	wantText(t, p.run(t, "exec", "-n", "elsewhere", "-T", "web", "sh", "-c", "echo $TEXT").stdout, "one")
	p.run(t, "restart", "-n", "elsewhere", "web")
	p.run(t, "down", "-v", "-y", "-n", "elsewhere")
	if n.namespaceExists(t, "elsewhere") {
		t.Error("its namespace is left")
	}
}

// testAppliedByHand has what `perch config` prints applied by kubectl: up takes it over as it is.
func testAppliedByHand(t *testing.T, n *node) {
	p := n.project(t, "applied", map[string]string{"compose.yaml": `name: applied
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    expose: ["8080"]
    environment: {TEXT: one}
    volumes: ["data:/data:ro"]
volumes: {data: {}}
`})
	p.write(t, "objects.yaml", p.run(t, "config", "--format", "kubernetes").stdout)
	p.run(t, "kubectl", "apply", "-f", "objects.yaml")
	p.run(t, "kubectl", "rollout", "status", "-n", "applied", "deployment/web", "--timeout=60s")
	before := n.podIDs(t, "applied")
	p.up(t)
	if diff := cmp.Diff(before, n.podIDs(t, "applied")); diff != "" {
		t.Errorf("its pods were replaced (-want +got):\n%s", diff)
	}
	wantText(t, p.up(t).stderr, "nothing changed")
	p.run(t, "down", "-v", "-y")
}
