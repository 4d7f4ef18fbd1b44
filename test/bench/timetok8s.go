package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stage is one of the six phases of minikube's own benchmark, time-to-k8s: what is asked again and again until it is so.
type stage struct {
	name  string
	begin func(ctx context.Context) error // once, before it is asked for; may be nil
	args  []string                        // of perch
	says  string                          // in its output; "" is content with exit code 0
}

// timeToK8s measures the six phases from an empty machine to an application that finds names, each from the end of the one
// before. The application is a page of busybox's httpd, whose image is loaded from a file as part of its phase.
func (b *bench) timeToK8s(ctx context.Context, r *report) error {
	kubectl := func(args ...string) []string { return append([]string{"kubectl"}, args...) }
	stages := []stage{
		{"command", nil, []string{"cluster", "start"}, ""},
		{"API server answering", nil, kubectl("get", "--raw", "/readyz"), "ok"},
		{"default service account", nil, kubectl("get", "serviceaccount", "default"), "default"},
		{"node ready", nil, kubectl("get", "nodes"), " Ready"},
		{"application running", b.deployPage, kubectl("get", "deployment", "page", "-o", "jsonpath={.status.readyReplicas}"), "1"},
		{"DNS answering", nil, kubectl("exec", "deployment/page", "--", "nslookup", "-type=a", "kubernetes.default.svc.cluster.local"), "Address"},
	}
	build := exec.CommandContext(ctx, b.images, "build")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", b.images, err, out)
	}
	for range b.rounds {
		if _, err := b.perch.run(ctx, "cluster", "delete", "--yes"); err != nil {
			return err
		}
		began := time.Now()
		for _, s := range stages {
			at := time.Now()
			if err := b.reach(ctx, s); err != nil {
				return err
			}
			r.seconds("  time to k8s: "+s.name, time.Since(at))
		}
		r.seconds("time to k8s, all six phases", time.Since(began))
	}
	return nil
}

func (b *bench) reach(ctx context.Context, s stage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("%s: not within %s", s.name, patient))
	defer cancel()
	if s.begin != nil {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	for {
		out, err := b.perch.output(ctx, s.args...)
		if err == nil && strings.Contains(string(out), s.says) {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

const page = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: page, namespace: default}
spec:
  selector: {matchLabels: {app: page}}
  template:
    metadata: {labels: {app: page}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: page
        image: busybox:1.36
        command: [httpd, -f, -p, "8080"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`

func (b *bench) deployPage(ctx context.Context) error {
	// Where the script leaves it, beside what else it builds.
	archive := filepath.Join(filepath.Dir(b.images), "..", ".cache", "images", "busybox-1.36.tar")
	if _, err := b.perch.run(ctx, "image", "load", archive); err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, b.perch.path, "kubectl", "apply", "-f", "-")
	apply.Env, apply.Stdin = b.perch.env, bytes.NewReader([]byte(page))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w\n%s", err, out)
	}
	return nil
}

// replicas measures how long a node with three pods of the page takes to have fifty ready.
func (b *bench) replicas(ctx context.Context, r *report) (err error) {
	if err := b.deployPage(ctx); err != nil {
		return err
	}
	defer func() {
		_, derr := b.perch.run(context.WithoutCancel(ctx), "kubectl", "delete", "deployment", "page", "-n", "default", "--wait", "--cascade=foreground")
		err = errors.Join(err, derr)
	}()
	scale := func(n string) stage {
		return stage{
			n + " replicas",
			func(ctx context.Context) error {
				_, err := b.perch.run(ctx, "kubectl", "scale", "deployment", "page", "-n", "default", "--replicas="+n)
				return err
			},
			[]string{"kubectl", "get", "deployment", "page", "-n", "default", "-o", "jsonpath=({.status.replicas} {.status.readyReplicas})"}, "(" + n + " " + n + ")",
		}
	}
	for range b.rounds {
		if err := b.reach(ctx, scale("3")); err != nil {
			return err
		}
		if err := b.reach(ctx, stage{name: "3 pods", args: []string{"kubectl", "get", "pods", "-n", "default", "-o", "jsonpath=({.items[*].metadata.labels.app})"}, says: "(page page page)"}); err != nil {
			return err
		}
		at := time.Now()
		if err := b.reach(ctx, scale("50")); err != nil {
			return err
		}
		r.seconds("3 to 50 replicas", time.Since(at))
	}
	return nil
}
