package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// farSimple is a page that says its text, once it has slept.
const farSimple = `name: simple
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "mkdir -p /tmp/www; echo $$TEXT > /tmp/www/index.html; sleep 5; exec httpd -f -p 8080 -h /tmp/www"]
    environment: {TEXT: %s}
    expose: ["8080"]
    deploy: {replicas: 2}
    healthcheck: {test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 30s, start_interval: 1s}
    stop_grace_period: 1s
x-perch:
  targets:
    stage: {context: far, namespace: shop}
`

// testFarLost loses the way to the API in the middle of a rollout. The rollout must be told to be in the dark, not to have
// failed or to be done, and the next run must finish it.
func testFarLost(t *testing.T, w *world) {
	w.far.load(t, "busybox:1.36")
	p := w.laptop.project(t, "simple", map[string]string{"compose.yaml": fmt.Sprintf(farSimple, "one")})
	up := command{dir: p.dir, args: []string{"up", "-d", "--target", "stage"}}
	before := w.inventory(t)
	w.laptop.want(t, 0, up)
	for _, ill := range []struct {
		name string
		text string
		lose func()
	}{
		{"cut", "two", w.api.shut},
		{"silent", "three", w.api.jam},
	} {
		t.Run(ill.name, func(t *testing.T) {
			p.write(t, "compose.yaml", fmt.Sprintf(farSimple, ill.text))
			defer w.api.reopen(t)
			rolling := w.laptop.start(t, up)
			eventually(t, 30*time.Second, "the rollout has begun", func(ctx context.Context) error {
				d, err := w.far.api.AppsV1().Deployments(farNamespace).Get(ctx, "web", metav1.GetOptions{})
				if err == nil && (d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas == 0 || allReady(d) == nil) {
					err = errors.New("not yet")
				}
				return err
			})
			ill.lose()
			r := rolling.endWithin(t, 3*time.Minute)
			if r.code != 15 {
				t.Errorf("it ends with %s", r)
			}
			wantText(t, r.stderr, "API server: does not answer; trying again", "(context far): the API server has not answered for",
				"hint: run the same command again", "service web: ", "ready when it was last seen")
			w.api.reopen(t)
			w.laptop.want(t, 0, command{dir: p.dir, args: append(up.args, "--lock-wait", "60s")})
			d := w.far.deployment(t, farNamespace, "web")
			if err := allReady(d); err != nil {
				t.Error(err)
			}
			page := w.far.want(t, 0, command{args: []string{"kubectl", "-n", farNamespace, "exec", "deployment/web", "--", "cat", "/tmp/www/index.html"}})
			wantText(t, page.stdout, ill.text)
			wantText(t, w.laptop.want(t, 0, up).stderr, "nothing changed")
		})
	}
	w.laptop.want(t, 0, command{dir: p.dir, args: []string{"down", "--volumes", "--yes", "--target", "stage"}})
	w.unchanged(t, before)
}
