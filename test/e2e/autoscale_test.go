package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAutoscale has a service scaled by its load, and sees that nobody but the autoscaler says how many pods it has from then on.
func TestAutoscale(t *testing.T) {
	t.Parallel()
	n := newUser(t, "as").started(t)
	n.load(t, "busybox:1.36")
	const file = `
services:
  web:
    image: "busybox:1.36"
    command: [sh, -c, "while true; do [ -f /tmp/burn ] || sleep 0.2; done"]
    restart: always
    stop_grace_period: 1s
    environment: {EDITION: one}
    deploy: {resources: {reservations: {cpus: "0.05"}}}
    x-perch:
      host: web.example.com
      service_account: {rules: [{resources: [configmaps], verbs: [get]}]}
`
	p := n.user.project(t, "growing", map[string]string{"compose.yaml": file})
	p.up(t)
	t.Run("it goes over to the autoscaler with the pods that it has", func(t *testing.T) {
		p.write(t, "compose.yaml", file+"      autoscale: {min: 2, max: 4, cpu: 50}\n")
		wantText(t, p.up(t).stderr, "replicas 1 → by load", "horizontalpodautoscaler web is new")
		n.grown(t, 2)
	})
	t.Run("an unchanged deploy is a no-op", func(t *testing.T) {
		wantText(t, p.up(t).stderr, "nothing changed")
	})
	t.Run("under load there are more", func(t *testing.T) {
		p.run(t, "exec", "web", "touch", "/tmp/burn")
		eventually(t, 3*time.Minute, "the autoscaler sees the load", func(ctx context.Context) error {
			h, err := n.autoscaler(ctx)
			if err == nil && h.Status.DesiredReplicas < 3 {
				err = fmt.Errorf("%d pods are wanted: %v", h.Status.DesiredReplicas, h.Status.Conditions)
			}
			return err
		})
	})
	t.Run("the next deploy leaves the number alone", func(t *testing.T) {
		h, err := n.autoscaler(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.replace(t, "compose.yaml", "EDITION: one", "EDITION: two")
		wantText(t, p.up(t).stderr, "environment variable EDITION changed")
		n.grown(t, h.Status.DesiredReplicas) // for five minutes there are no fewer, whatever the load
	})
	t.Run("scale says who owns it", func(t *testing.T) {
		wantText(t, n.want(t, 2, command{dir: p.dir, args: []string{"scale", "web=9"}}).stderr, "its autoscaler has 2 to 4 pods")
		wantText(t, n.want(t, 2, command{dir: p.dir, args: []string{"up", "-d", "--scale", "web=3"}}).stderr, "an autoscaler owns its number")
		wantText(t, p.run(t, "scale", "web=4").stderr, "its autoscaler goes on from there")
	})
	t.Run("its account may do what its rules say", func(t *testing.T) {
		as := "--as=system:serviceaccount:growing:web"
		n.want(t, 0, command{args: []string{"kubectl", "-n", "growing", "auth", "can-i", as, "get", "configmaps"}})
		n.want(t, 1, command{args: []string{"kubectl", "-n", "growing", "auth", "can-i", as, "get", "secrets"}})
	})
	t.Run("an autoscaler that is gone comes back", func(t *testing.T) {
		if err := n.api.AutoscalingV2().HorizontalPodAutoscalers("growing").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		wantText(t, p.up(t).stderr, "horizontalpodautoscaler web is gone")
		if _, err := n.autoscaler(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("down takes all of it away", func(t *testing.T) {
		p.run(t, "down")
		if _, err := n.api.CoreV1().Namespaces().Get(t.Context(), "growing", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace is there: %v", err)
		}
	})
	if text := n.want(t, 0, command{dir: p.dir, args: []string{"config", "--format", "kubernetes"}}).stdout; strings.Contains(text, "kind: Ingress") {
		t.Errorf("an Ingress is made for a node that has no controller for it:\n%s", text)
	}
}

func (n *node) autoscaler(ctx context.Context) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	return n.api.AutoscalingV2().HorizontalPodAutoscalers("growing").Get(ctx, "web", metav1.GetOptions{})
}

// grown wants web to have at least that many pods, all of them ready.
func (n *node) grown(t *testing.T, least int32) {
	t.Helper()
	d, err := n.api.AppsV1().Deployments("growing").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas < least || d.Status.ReadyReplicas < least {
		t.Errorf("it has %d pods, %d of them ready; wanted %d", *d.Spec.Replicas, d.Status.ReadyReplicas, least)
	}
}
