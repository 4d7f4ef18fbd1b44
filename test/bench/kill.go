package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// An app of two pods that say their names, on a node whose processes are killed.
const (
	sturdyPort = "14002"
	sturdyURL  = "http://127.0.0.1:" + sturdyPort + "/"
	sturdyFile = `name: bench-sturdy
services:
  web:
    image: busybox:1.36
    command: sh -c 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www'
    ports: ["` + sturdyPort + `:8080"]
    stop_grace_period: 1s
    deploy: {replicas: 2}
`
	shimRole = "containerd-shim-runc-v2"
	calm     = 3 * time.Second       // between two kills
	look     = 25 * time.Millisecond // between two looks at a node that is not whole yet
)

// kills measures how long it takes after a kill -9 of one or two processes of the platform until it is whole again. The DNS
// is a part of the Kubernetes process, the publisher of ports one of the supervisor.
func (b *bench) kills(ctx context.Context, r *report) (err error) {
	p, err := b.beside("sturdy", map[string]string{"compose.yaml": sturdyFile})
	if err != nil {
		return err
	}
	archive := filepath.Join(filepath.Dir(b.images), "..", ".cache", "images", "busybox-1.36.tar")
	for _, args := range [][]string{{"cluster", "start"}, {"image", "load", archive}, {"up", "--detach"}} {
		if _, err := p.run(ctx, args...); err != nil {
			return err
		}
	}
	defer func() {
		_, derr := p.run(context.WithoutCancel(ctx), "down", "--yes")
		err = errors.Join(err, derr)
	}()
	v, err := newVictim(b.proc, p)
	if err != nil {
		return err
	}
	for range b.rounds {
		for _, roles := range [][]string{
			{shimRole}, {"containerd"}, {"kubernetes"}, {"init"}, {"supervisor"},
			{"kubernetes", "containerd"}, {"kubernetes", shimRole}, {"init", "supervisor"}, // init would end with the other
		} {
			if err := pause(ctx, calm); err != nil {
				return err
			}
			took, err := v.survive(ctx, roles)
			if err != nil {
				return fmt.Errorf("%s: %w", strings.Join(roles, " and "), err)
			}
			r.seconds("killed, to whole again: "+strings.Join(roles, " and "), took)
		}
	}
	return nil
}

// victim is the node whose processes are killed.
type victim struct {
	proc  procFS
	perch program
	api   clientset.Interface
	http  *http.Client
}

func newVictim(proc procFS, p program) (victim, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: p.variable("KUBECONFIG")},
		&clientcmd.ConfigOverrides{CurrentContext: "perch-" + clusterName},
	).ClientConfig()
	if err != nil {
		return victim{}, err
	}
	config.QPS, config.Timeout = -1, 2*time.Second
	api, err := clientset.NewForConfig(config)
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return victim{proc: proc, perch: p, api: api, http: client}, err
}

// survive kills one process of each role at once, and says how long it took until the node was whole.
func (v victim) survive(ctx context.Context, roles []string) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("not whole after %s", patient))
	defer cancel()
	before, err := v.census()
	if err != nil {
		return 0, err
	}
	names, err := v.pods(ctx)
	if err != nil {
		return 0, err
	}
	for _, role := range roles {
		if len(before[role]) == 0 {
			return 0, fmt.Errorf("there is no process %s", role)
		}
	}
	began := time.Now()
	for _, role := range roles {
		if err := syscall.Kill(before[role][0], syscall.SIGKILL); err != nil {
			return 0, err
		}
	}
	for {
		missing := v.whole(ctx, before, roles, names)
		if missing == nil {
			return time.Since(began), nil
		}
		if pause(ctx, look) != nil {
			return 0, fmt.Errorf("%w: %w", context.Cause(ctx), missing)
		}
	}
}

// census is the processes of the platform by their roles.
func (v victim) census() (map[string][]int, error) {
	all, err := v.proc.all()
	if err != nil {
		return nil, err
	}
	byRole := map[string][]int{}
	for _, p := range platform(all, clusterName) {
		byRole[p.role()] = append(byRole[p.role()], p.pid)
	}
	return byRole, nil
}

// pods are the names of the app's pods, if they are all ready.
func (v victim) pods(ctx context.Context) ([]string, error) {
	list, err := v.api.CoreV1().Pods("bench-sturdy").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range list.Items {
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if !ready {
			return nil, fmt.Errorf("pod %s is not ready", p.Name)
		}
		names = append(names, p.Name)
	}
	return names, nil
}

// whole says what is missing: who was killed has a successor, the pods are ready, each of them answers at the published
// port, and the node calls itself ready. What costs least is asked first.
func (v victim) whole(ctx context.Context, before map[string][]int, killed, names []string) error {
	now, err := v.census()
	if err != nil {
		return err
	}
	for _, role := range killed {
		if len(now[role]) != len(before[role]) || slices.Contains(now[role], before[role][0]) {
			return fmt.Errorf("there are %d processes %s", len(now[role]), role)
		}
	}
	if got, err := v.pods(ctx); err != nil || len(got) != len(names) {
		return fmt.Errorf("%d of %d pods: %w", len(got), len(names), err)
	}
	answered := map[string]bool{}
	for range 10 * len(names) {
		name, err := v.ask(ctx)
		if err != nil {
			return err
		}
		answered[name] = true
		if len(answered) == len(names) {
			break
		}
	}
	if len(answered) != len(names) {
		return fmt.Errorf("%d of %d pods answer", len(answered), len(names))
	}
	status, err := v.perch.status(ctx)
	if err != nil || status.State != "ready" {
		return fmt.Errorf("the node is %s: %w", status.State, err)
	}
	return nil
}

// ask is the name of the pod that answers.
func (v victim) ask(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, sturdyURL, nil)
	if err != nil {
		return "", err
	}
	response, err := v.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the page answers %s", response.Status)
	}
	name, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(name)), err
}
