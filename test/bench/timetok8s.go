package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stage is something that is begun and then asked for again and again until it is so.
type stage struct {
	name  string
	begin func(ctx context.Context) error // once, before it is asked for; may be nil
	args  []string                        // of kubectl; nil: it is so when begin returns
	says  string                          // in its output; "" is content with exit code 0
}

// kubernetes is one that is measured: the node of perch, or what it stands beside.
type kubernetes struct {
	suffix  string // of its figures' names
	kubectl program
	start   func(ctx context.Context) error
	load    func(ctx context.Context, archive string) error // an image into its store
}

// node is perch's.
func (b *bench) node() *kubernetes {
	return &kubernetes{
		kubectl: b.perch.with("kubectl"),
		start:   func(ctx context.Context) error { return errOf(b.perch.run(ctx, "cluster", "start")) },
		load: func(ctx context.Context, archive string) error {
			return errOf(b.perch.run(ctx, "image", "load", archive))
		},
	}
}

func errOf(_ time.Duration, err error) error { return err }

// timeToK8s measures the six phases of minikube's own benchmark, time-to-k8s, from an empty machine to an application that
// finds names, each from the end of the one before. The application is a page of busybox's httpd, whose image is loaded from
// a file as part of its phase.
func (b *bench) timeToK8s(ctx context.Context, r *report) error {
	if err := b.buildImages(ctx); err != nil {
		return err
	}
	for range b.rounds {
		if _, err := b.perch.run(ctx, "cluster", "delete", "--yes"); err != nil {
			return err
		}
		if err := b.sixPhases(ctx, r, b.node()); err != nil {
			return err
		}
	}
	return nil
}

const sixPhases = "time to k8s, all six phases"

func (b *bench) sixPhases(ctx context.Context, r *report, k *kubernetes) error {
	began := time.Now()
	for _, s := range []stage{
		{"command", k.start, nil, ""},
		{"API server answering", nil, []string{"get", "--raw", "/readyz"}, "ok"},
		{"default service account", nil, []string{"get", "serviceaccount", "default"}, "default"},
		{"node ready", nil, []string{"get", "nodes"}, " Ready"},
		{"application running", func(ctx context.Context) error { return b.deployPage(ctx, k) }, []string{"get", "deployment", "page", "-o", "jsonpath={.status.readyReplicas}"}, "1"},
		{"DNS answering", nil, []string{"exec", "deployment/page", "--", "nslookup", "-type=a", "kubernetes.default.svc.cluster.local"}, "Address"},
	} {
		at := time.Now()
		if err := reach(ctx, k.kubectl, s); err != nil {
			return err
		}
		r.seconds("  time to k8s: "+s.name+k.suffix, time.Since(at))
	}
	r.seconds(sixPhases+k.suffix, time.Since(began))
	return nil
}

func (b *bench) buildImages(ctx context.Context) error {
	build := exec.CommandContext(ctx, b.images, "build")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", b.images, err, out)
	}
	return nil
}

func reach(ctx context.Context, kubectl program, s stage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("%s: not within %s", s.name, patient))
	defer cancel()
	if s.begin != nil {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	if s.args == nil {
		return nil
	}
	for {
		out, err := kubectl.output(ctx, s.args...)
		if err == nil && strings.Contains(string(out), s.says) {
			return nil
		}
		if perr := pause(ctx, 20*time.Millisecond); perr != nil {
			return errors.Join(perr, err)
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

func (b *bench) deployPage(ctx context.Context, k *kubernetes) error {
	// Where the script leaves it, beside what else it builds.
	if err := k.load(ctx, filepath.Join(filepath.Dir(b.images), "..", ".cache", "images", "busybox-1.36.tar")); err != nil {
		return err
	}
	_, err := k.kubectl.feed(ctx, page, "apply", "-f", "-")
	return err
}

// replicas measures how long a node with three pods of the page takes to have fifty ready.
func (b *bench) replicas(ctx context.Context, r *report) (err error) {
	node := b.node()
	if err := b.deployPage(ctx, node); err != nil {
		return err
	}
	defer func() {
		_, derr := node.kubectl.run(context.WithoutCancel(ctx), "delete", "deployment", "page", "-n", "default", "--wait", "--cascade=foreground")
		err = errors.Join(err, derr)
	}()
	scale := func(n string) stage {
		return stage{
			n + " replicas",
			func(ctx context.Context) error {
				return errOf(node.kubectl.run(ctx, "scale", "deployment", "page", "-n", "default", "--replicas="+n))
			},
			[]string{"get", "deployment", "page", "-n", "default", "-o", "jsonpath=({.status.replicas} {.status.readyReplicas})"}, "(" + n + " " + n + ")",
		}
	}
	for range b.rounds {
		if err := reach(ctx, node.kubectl, scale("3")); err != nil {
			return err
		}
		if err := reach(ctx, node.kubectl, stage{name: "3 pods", args: []string{"get", "pods", "-n", "default", "-o", "jsonpath=({.items[*].metadata.labels.app})"}, says: "(page page page)"}); err != nil {
			return err
		}
		at := time.Now()
		if err := reach(ctx, node.kubectl, scale("50")); err != nil {
			return err
		}
		r.seconds("3 to 50 replicas", time.Since(at))
	}
	return nil
}
