package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// backWithin is how long requests may fail after a part of the node was killed: the cluster's DNS goes with Kubernetes, and
// who opens a connection then does not find the database. The bar is 5 s, on a machine that does nothing else.
const backWithin = 10 * time.Second

// testKilled kills parts of the node by kill -9 while the application serves.
func testKilled(t *testing.T, a *app) {
	a.ensure(t)
	for _, role := range []string{"kubernetes", "containerd"} {
		t.Run(role, func(t *testing.T) { testKilledPart(t, a, role) })
	}
}

func testKilledPart(t *testing.T, a *app, role string) {
	shape, pods := a.node.shape(t, a.namespace), a.node.podIDs(t, a.namespace)
	s := startStream(t, a.url())
	old := a.node.part(t, role)
	killed := time.Now()
	old.kill(t)
	eventually(t, 20*time.Second, role+" runs again", func(context.Context) error {
		for _, p := range a.node.inside() {
			if p.is(role) && p.pid != old.pid {
				return nil
			}
		}
		return fmt.Errorf("it does not")
	})
	eventually(t, 30*time.Second, "the API answers and the node is ready", a.node.nodeReady)
	t.Logf("ready again after %s", time.Since(killed).Round(time.Millisecond))
	replaced := a.replacePod(t)
	s.noneFailedAfter(t, killed.Add(backWithin))
	if diff := cmp.Diff(shape, a.node.shape(t, a.namespace)); diff != "" {
		t.Errorf("objects changed, -before +after:\n%s", diff)
	}
	now := a.node.podIDs(t, a.namespace)
	for _, pod := range pods {
		if !strings.HasPrefix(pod, replaced+" ") && !slices.Contains(now, pod) {
			t.Errorf("the pod %s was touched, now there are:\n  %s", pod, strings.Join(now, "\n  "))
		}
	}
}

// replacePod deletes a replica and waits for another one: that takes all of the node. It returns the one that is gone.
func (a *app) replacePod(t *testing.T) string {
	t.Helper()
	old := a.node.ready(t, a.namespace, "web", 3)[0]
	a.perch(t, "", "kubectl", "delete", "pod", "-n", a.namespace, old, "--wait=false")
	a.perchApp(t, "up", "-d") // who deploys in this moment waits too, and does not take it for a failure
	eventually(t, 60*time.Second, "another pod is in the place of "+old, func(ctx context.Context) error {
		pods, err := a.node.pods(ctx, a.namespace, "web")
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range pods {
			if p.Name != old && podReady(p) {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d of %d pods are ready", ready, len(pods))
		}
		return nil
	})
	return old
}

// nodeReady wants the API to answer and the node to be ready.
func (n *node) nodeReady(ctx context.Context) error {
	list, err := n.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, one := range list.Items {
		for _, c := range one.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("the node is not ready")
}

// part is the node's process of that role.
func (u *user) part(t *testing.T, role string) hostProcess {
	t.Helper()
	var found []hostProcess
	for _, p := range u.inside() {
		if p.is(role) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d processes %s: %v", len(found), role, found)
	}
	return found[0]
}

// kill is kill -9.
func (p hostProcess) kill(t *testing.T) {
	t.Helper()
	pid, err := strconv.Atoi(p.pid)
	if err != nil || pid <= 1 || pid == os.Getpid() {
		t.Fatalf("%s is nothing to kill", p.pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
