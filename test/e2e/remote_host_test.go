package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// farHosted is a page with a name of its own, TLS, and as many pods as its load needs: each request to /cgi-bin/work is work.
// What asks for /live and an upgrade gets back what it says.
const farHosted = `name: hosted
services:
  web:
    image: busybox:1.36
    command:
      - sh
      - -c
      - |
        mkdir -p /tmp/www/cgi-bin; echo %s > /tmp/www/index.html
        printf '#!/bin/sh\ni=0; while [ $$i -lt 20000 ]; do i=$$((i+1)); done; echo; echo done\n' > /tmp/www/cgi-bin/work
        printf '#!/bin/sh\nwhile read -r l && [ "$${#l}" -gt 1 ]; do :; done\n' > /tmp/live
        echo 'printf "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"; exec cat' >> /tmp/live
        chmod +x /tmp/www/cgi-bin/work; nc -ll -p 8081 -e sh /tmp/live & exec httpd -f -p 8080 -h /tmp/www
    expose: ["8080", "8081"]
    healthcheck: {test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 30s, start_interval: 1s}
    stop_grace_period: 5s
    deploy: {resources: {reservations: {cpus: "0.05", memory: 16M}}}
    x-perch:
      host:
        - {name: hosted, tls: hosted-tls, port: 8080}
        - {name: hosted, tls: hosted-tls, port: 8081, path: /live, protocol: websocket}
      autoscale: {min: 1, max: 3, cpu: 50}
x-perch:
  targets:
    stage: {context: far, namespace: shop, ingress_class: far-ingress, domain: far.example}
`

const farHost = "https://hosted.far.example/"

// testFarHost gives a service a name and TLS, and as many pods as its load needs.
func testFarHost(t *testing.T, w *world) {
	w.far.load(t, "busybox:1.36")
	crt, key := w.ca.issue(t, "hosted.far.example").write(t, w.far.temp)
	w.far.perch(t, "", "kubectl", "-n", farNamespace, "create", "secret", "tls", "hosted-tls", "--cert="+crt, "--key="+key)
	before := w.inventory(t)
	p := w.laptop.project(t, "hosted", map[string]string{"compose.yaml": fmt.Sprintf(farHosted, "one")})
	up := command{dir: p.dir, args: []string{"up", "-d", "--target", "stage"}}
	first := w.laptop.want(t, 0, up)
	t.Run("up says where it answers", func(t *testing.T) { wantText(t, first.stdout, farHost) })
	t.Run("the page answers by its name, with the given certificate", func(t *testing.T) {
		eventually(t, 20*time.Second, "the page", func(ctx context.Context) error {
			body, err := w.browse(ctx, farHost)
			if err != nil {
				return err
			}
			return hasText(body, "one")
		})
		if body, err := w.browse(t.Context(), "http://another.far.example/"); err == nil {
			t.Errorf("another name answers too: %s", body)
		}
	})
	t.Run("HTTP/2 and websockets pass", func(t *testing.T) { testFarProtocols(t, w) })
	t.Run("rolled under load", func(t *testing.T) {
		p.write(t, "compose.yaml", fmt.Sprintf(farHosted, "two"))
		s := startStreamBy(t, func(ctx context.Context) (string, error) { return w.browse(ctx, farHost) })
		w.laptop.want(t, 0, up)
		s.noneFailed(t)
	})
	t.Run("more pods under load", func(t *testing.T) { testFarAutoscale(t, w, up) })
	w.laptop.want(t, 0, command{dir: p.dir, args: []string{"down", "--volumes", "--yes", "--target", "stage"}})
	w.unchanged(t, before)
}

// testFarProtocols asks for the page by HTTP/2, and for a connection to talk on.
func testFarProtocols(t *testing.T, w *world) {
	const host = "hosted.far.example"
	client := w.client(host)
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	response, err := client.Get(farHost)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Errorf("the page came by %s, status %s", response.Proto, response.Status)
	}
	plain, err := w.space.Dial(t.Context(), "tcp", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(plain, clientTLS(w.ca.trusting(), host))
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET /live HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host)
	in := bufio.NewReader(conn)
	if response, err = http.ReadResponse(in, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no websocket: %v %v", response, err)
	}
	for _, word := range []string{"one\n", "another\n"} {
		_, _ = io.WriteString(conn, word)
		if got, err := in.ReadString('\n'); got != word {
			t.Errorf("it says %q to %q: %v", got, word, err)
		}
	}
}

// testFarAutoscale loads the page until there are more pods, and wants up to leave their number alone.
func testFarAutoscale(t *testing.T, w *world, up command) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 3 {
		go func() {
			for ctx.Err() == nil {
				_, _ = w.browse(ctx, farHost+"cgi-bin/work")
			}
		}()
	}
	scaled := func(ctx context.Context) error {
		list, err := w.far.api.AutoscalingV2().HorizontalPodAutoscalers(farNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("there are %d autoscalers", len(list.Items))
		}
		return enough(list.Items[0])
	}
	eventually(t, 2*time.Minute, "there are more pods", scaled)
	w.laptop.want(t, 0, up)
	if err := scaled(t.Context()); err != nil {
		t.Errorf("after up: %v", err)
	}
	if n := *w.far.deployment(t, farNamespace, "web").Spec.Replicas; n < 2 {
		t.Errorf("up has set the number of pods to %d", n)
	}
}

func enough(h autoscalingv2.HorizontalPodAutoscaler) error {
	if h.Status.CurrentReplicas >= 2 && h.Status.DesiredReplicas >= 2 {
		return nil
	}
	err := fmt.Errorf("%d pods, %d wanted", h.Status.CurrentReplicas, h.Status.DesiredReplicas)
	for _, c := range h.Status.Conditions {
		err = errors.Join(err, fmt.Errorf("%s %s: %s", c.Type, c.Status, c.Message))
	}
	return err
}
