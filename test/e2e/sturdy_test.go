package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/node/network"
)

// wholeWithin is how long a node with a killed part may take here until it is whole again. How long it takes on a machine that
// does nothing else is measured by `make bench`; the bar is 5 s.
const wholeWithin = 60 * time.Second

const sturdyFile = `
services:
  web:
    image: busybox:1.36
    command: sh -c 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www'
    ports: ["${PORT}:8080"]
    stop_grace_period: 1s
    deploy: {replicas: 3}
`

// TestSturdy kills parts of the node by kill -9, one at a time and in pairs, and wants it to come back by itself with all
// that it had, and pods to serve meanwhile where the kernel lets them: not when their shim or the sandbox goes. DNS is a
// part of the Kubernetes process, publishing a part of the supervisor.
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
		// What ends with the other comes first: it could be gone before it is killed.
		{"kubernetes", "containerd"}, {"kubernetes", "shim"}, {"containerd", "shim"}, {"containerd", "init"}, {"kubernetes", "supervisor"}, {"init", "supervisor"},
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
	shims := len(s.shims())
	served := s.ways(t, parts, victims)
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
		if now := len(s.shims()); now != shims {
			return fmt.Errorf("there are %d shims, there were %d", now, shims)
		}
		return s.whole(ctx, len(pods))
	})
	eventually(t, wholeWithin, "every pod answers at the published port", answeredBy(podNames(pods), func(ctx context.Context) (string, error) {
		name, err := fetch(ctx, s.url)
		return strings.TrimSpace(name), err
	}))
	t.Logf("whole again after %s", time.Since(killed).Round(time.Millisecond))
	for _, w := range served {
		w.end(t)
	}
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

// way is one by which the app is asked all the time while parts are killed.
type way struct {
	*stream
	name  string
	holds bool // what is killed must not be felt on it
}

// ways ask for the app from the machine at its published port, and from one of its pods at another pod's address and at its
// Service's. What is killed leaves those two pods alone, unless it takes all.
func (s sturdy) ways(t *testing.T, parts []string, victims []hostProcess) []way {
	t.Helper()
	service, err := s.api.CoreV1().Services("sturdy").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	from, to := s.twoPods(t, victims)
	by := func(host string) *stream {
		url := "http://" + net.JoinHostPort(host, "8080")
		return startStreamBy(t, func(ctx context.Context) (string, error) { return fetchFrom(ctx, from, url) })
	}
	room := !slices.Contains(parts, "init") && !slices.Contains(parts, "supervisor") // the sandbox stays
	all := room && !slices.Contains(parts, "shim")                                   // and every pod in it
	return []way{
		{by(to), "from pod to pod", room},
		{by(service.Spec.ClusterIP), "from a pod to the Service", all},
		{startStream(t, s.url), "at the published port", all},
	}
}

// end ends the requests and says how they fared.
func (w way) end(t *testing.T) {
	t.Helper()
	t.Log(w.name + ":")
	if w.holds {
		w.noneFailed(t)
		return
	}
	w.stop()
	t.Logf("%d requests, %d failed", w.requests, len(w.failures))
}

// twoPods are the network namespace of one pod and the address of another. Their shims are not among the victims.
func (s sturdy) twoPods(t *testing.T, victims []hostProcess) (from network.Namespace, to string) {
	t.Helper()
	var found []hostProcess
	for _, p := range s.inside() {
		killed := slices.ContainsFunc(victims, func(v hostProcess) bool { return v.pid == p.parent() })
		if p.args[0] == "/pause" && !killed {
			found = append(found, p)
		}
	}
	if len(found) < 2 {
		t.Fatalf("of the pods that are left alone there are %d: %v", len(found), found)
	}
	from = s.enter(t, found[0])
	other := s.enter(t, found[1])
	err := other.Do(func() error {
		addresses, err := net.InterfaceAddrs()
		for _, a := range addresses {
			if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil && !ip.IsLoopback() {
				to = ip.String()
			}
		}
		return err
	})
	if err != nil || to == "" {
		t.Fatalf("%s has no address: %v", found[1], err)
	}
	return from, to
}

// enter is the network namespace of a process, until the test ends.
func (s sturdy) enter(t *testing.T, p hostProcess) network.Namespace {
	t.Helper()
	pid, err := strconv.Atoi(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	n, err := network.OfProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// podNames are the first words of what samePods returns.
func podNames(pods []string) []string {
	var names []string
	for _, p := range pods {
		name, _, _ := strings.Cut(p, " ")
		names = append(names, name)
	}
	return names
}

// shims are those of the node's pods.
func (s sturdy) shims() []hostProcess {
	return slices.DeleteFunc(s.inside(), func(p hostProcess) bool { return !strings.HasSuffix(p.args[0], "containerd-shim-runc-v2") })
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
		shims := s.shims()
		if len(shims) == 0 {
			t.Fatal("there is no shim")
		}
		return shims[0]
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
