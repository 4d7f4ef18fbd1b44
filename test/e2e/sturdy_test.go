package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wholeWithin is how long a node with a killed part may take here until it is whole again. The bar is 5 s, on a machine that
// does nothing else.
const wholeWithin = 60 * time.Second

const sturdyFile = `
services:
  web:
    image: busybox:1.36
    command: sh -c 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www'
    ports: ["${PORT}:8080"]
    stop_grace_period: 1s
    deploy: {replicas: 2}
`

// TestSturdy kills parts of the node by kill -9, one at a time and in pairs, and wants it to come back by itself with all
// that it had. DNS is a part of the Kubernetes process, publishing a part of the supervisor.
func TestSturdy(t *testing.T) {
	t.Parallel()
	n := newUser(t, "k").started(t)
	n.load(t, "busybox:1.36")
	port := freePort(t)
	p := n.project(t, "sturdy", map[string]string{"compose.yaml": sturdyFile})
	p.up(t, "PORT="+port)
	for i := range 50 {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("kept-%d", i)}, Data: map[string]string{"i": strconv.Itoa(i)}}
		if _, err := n.api.CoreV1().ConfigMaps("sturdy").Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := sturdy{n, "http://127.0.0.1:" + port}
	for _, parts := range [][]string{
		{"shim"}, {"kubernetes"}, {"containerd"}, {"init"}, {"supervisor"},
		{"kubernetes", "containerd"}, {"kubernetes", "shim"}, {"containerd", "shim"}, {"init", "containerd"}, {"supervisor", "kubernetes"}, {"supervisor", "init"},
	} {
		t.Run(strings.Join(parts, " and "), func(t *testing.T) { s.survives(t, parts) })
	}
}

// sturdy is a node with a small web app.
type sturdy struct {
	*node
	url string
}

// survives kills the parts at once, and wants the node to be whole again with the same objects and pods.
func (s sturdy) survives(t *testing.T, parts []string) {
	shape, pods, kept := s.shape(t, "sturdy"), s.samePods(t), s.configMaps(t)
	var victims []hostProcess
	for _, part := range parts {
		victims = append(victims, s.one(t, part))
	}
	killed := time.Now()
	for _, v := range victims {
		v.kill(t)
	}
	eventually(t, wholeWithin, "the node is whole", func(ctx context.Context) error {
		for _, v := range victims {
			if v.alive() {
				return fmt.Errorf("%s is still there", v)
			}
		}
		return s.whole(ctx, len(pods))
	})
	t.Logf("whole again after %s", time.Since(killed).Round(time.Millisecond))
	if diff := cmp.Diff(shape, s.shape(t, "sturdy")); diff != "" {
		t.Errorf("objects changed, -before +after:\n%s", diff)
	}
	if diff := cmp.Diff(pods, s.samePods(t)); diff != "" {
		t.Errorf("pods are others, -before +after:\n%s", diff)
	}
	if diff := cmp.Diff(kept, s.configMaps(t)); diff != "" {
		t.Errorf("config was lost, -before +after:\n%s", diff)
	}
}

// samePods are the pods, whose containers may have been started again.
func (s sturdy) samePods(t *testing.T) []string {
	t.Helper()
	pods := s.podIDs(t, "sturdy")
	for i, p := range pods {
		pods[i], _, _ = strings.Cut(p, " restarts ")
	}
	return pods
}

// one is a process of that part: of shims there are many.
func (s sturdy) one(t *testing.T, part string) hostProcess {
	t.Helper()
	switch part {
	case "shim":
		for _, p := range s.inside() {
			if strings.HasSuffix(p.args[0], "containerd-shim-runc-v2") {
				return p
			}
		}
		t.Fatal("there is no shim")
	case "supervisor":
		for _, p := range processes() {
			if p.supervisesOf(s.user) {
				return p
			}
		}
		t.Fatal("there is no supervisor")
	}
	return s.part(t, part)
}

// whole wants everything to be there that serves: the parts, the node, the pods, the published port.
func (s sturdy) whole(ctx context.Context, pods int) error {
	if got := s.exec(ctx, command{args: []string{"cluster", "status"}}); got.code != 0 || !strings.Contains(got.stdout, " is ready: ") {
		return fmt.Errorf("cluster status: exit code %d: %s", got.code, got.all())
	}
	if err := s.nodeReady(ctx); err != nil {
		return err
	}
	list, err := s.api.CoreV1().Pods("sturdy").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for _, p := range list.Items {
		if podReady(p) {
			ready++
		}
	}
	if ready != pods {
		return fmt.Errorf("%d of %d pods are ready", ready, pods)
	}
	_, err = fetch(ctx, s.url)
	return err
}

func (s sturdy) configMaps(t *testing.T) []string {
	t.Helper()
	list, err := s.api.CoreV1().ConfigMaps("sturdy").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range list.Items {
		all = append(all, fmt.Sprint(c.Name, " ", c.UID, " ", c.Data))
	}
	slices.Sort(all)
	return all
}
