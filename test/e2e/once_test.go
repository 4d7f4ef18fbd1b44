package e2e

import (
	"testing"

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

// TestOnce brings up a service that ends well, of which the file does not say that it may: Compose lets it.
func TestOnce(t *testing.T) {
	u := newUser(t, "once")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
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
