package policy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/knftables"
)

// table is an nft table in memory that counts how often it is written, and can be made to fail.
type table struct {
	*knftables.Fake
	mu    sync.Mutex
	runs  int
	fails error
}

func (t *table) Run(ctx context.Context, tx *knftables.Transaction) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs++
	if t.fails != nil {
		return t.fails
	}
	return t.Fake.Run(ctx, tx)
}

func (t *table) dump() (string, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Dump(), t.runs
}

func (t *table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails = err
}

// bench is a Controller that runs, with what is around it.
type bench struct {
	api     *fake.Clientset
	table   *table
	runtime *runtimeServer
	socket  string
	ready   func(context.Context) error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		api: fake.NewClientset(), table: &table{Fake: knftables.NewFake(knftables.InetFamily, "perch-policies")},
		runtime: &runtimeServer{events: make(chan *cri.ContainerEventResponse), broken: make(chan struct{})}, socket: filepath.Join(t.TempDir(), "cri.sock"),
	}
	b.runtime.serve(t, b.socket)
	c := New(Options{Table: "perch-policies", PodNets: podNets(), Runtime: b.socket})
	c.open = func() (knftables.Interface, error) { return b.table, nil }
	b.ready = c.Ready
	factory := informers.NewSharedInformerFactory(b.api, 0)
	if err := c.Watch(factory); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		running.Wait()
		factory.Shutdown()
	})
	return b
}

// runtimeServer tells events of containers, and breaks off when it is told to.
type runtimeServer struct {
	cri.UnimplementedRuntimeServiceServer
	events chan *cri.ContainerEventResponse
	broken chan struct{}
}

func (r *runtimeServer) GetContainerEvents(_ *cri.GetEventsRequest, s grpc.ServerStreamingServer[cri.ContainerEventResponse]) error {
	for {
		select {
		case e := <-r.events:
			if err := s.Send(e); err != nil {
				return err
			}
		case <-r.broken:
			return errors.New("broken off")
		case <-s.Context().Done():
			return nil
		}
	}
}

func (r *runtimeServer) serve(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, r)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
}

func networkMade(uid, ip string) *cri.ContainerEventResponse {
	return &cri.ContainerEventResponse{
		ContainerId: "sandbox", ContainerEventType: cri.ContainerEventType_CONTAINER_CREATED_EVENT,
		PodSandboxStatus: &cri.PodSandboxStatus{
			Id: "sandbox", Metadata: &cri.PodSandboxMetadata{Uid: uid}, Network: &cri.PodSandboxNetworkStatus{Ip: ip},
		},
	}
}

// has waits until the table has the text, or has not.
func (b *bench) has(t *testing.T, text string, want bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		dump, _ := b.table.dump()
		if strings.Contains(dump, text) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q in the table: wanted %t:\n%s", text, want, dump)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bench) pod(t *testing.T, name, ip string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}}}
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	p, err := b.api.CoreV1().Pods("one").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) deny(t *testing.T) {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "deny"}}
	if _, err := b.api.NetworkingV1().NetworkPolicies("one").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestControllerKeepsTheTable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.pod(t, "a", "10.42.0.2")
	b.deny(t)
	b.has(t, "ingress4 { 10.42.0.2 : goto", true)
	b.pod(t, "b", "10.42.0.3")
	b.has(t, "ingress4 { 10.42.0.3 : goto", true)
	if err := b.api.CoreV1().Pods("one").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.has(t, "10.42.0.2", false)
	if err := b.api.NetworkingV1().NetworkPolicies("one").Delete(t.Context(), "deny", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.has(t, "add table", false)
}

// Only what policies know of a pod counts: conditions of pods change all the time.
func TestControllerWritesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p := b.pod(t, "a", "10.42.0.2")
	b.deny(t)
	b.has(t, "ingress4 { 10.42.0.2 : goto", true)
	_, before := b.table.dump()
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	p, err := b.api.CoreV1().Pods("one").UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Labels["more"] = "label"
	if _, err := b.api.CoreV1().Pods("one").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.pod(t, "b", "10.42.0.3") // comes after both
	b.has(t, "ingress4 { 10.42.0.3 : goto", true)
	if _, runs := b.table.dump(); runs != before+1 {
		t.Errorf("it was written %d times, not once", runs-before)
	}
}

// The runtime knows a pod's address before its status has it; when the runtime breaks off, the status counts again.
func TestControllerListensToTheRuntime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deny(t)
	p := b.pod(t, "a", "")
	b.runtime.events <- networkMade("a", "10.42.0.2")
	b.has(t, "ingress4 { 10.42.0.2 : goto", true)
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.42.0.9"}}
	if _, err := b.api.CoreV1().Pods("one").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.runtime.broken <- struct{}{}
	b.has(t, "ingress4 { 10.42.0.9 : goto", true)
	b.runtime.events <- networkMade("a", "10.42.0.4") // the stream is there again
	b.has(t, "ingress4 { 10.42.0.4 : goto", true)
}

func TestControllerTriesAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.table.fail(errors.New("no such thing"))
	_, before := b.table.dump()
	b.deny(t)
	b.pod(t, "a", "10.42.0.2")
	for runs := before; runs < before+2; _, runs = b.table.dump() {
		if t.Context().Err() != nil {
			t.Fatal("it is not tried again")
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.table.fail(nil)
	b.has(t, "ingress4 { 10.42.0.2 : goto", true)
}

func TestPodsThatCount(t *testing.T) {
	t.Parallel()
	status := func(phase corev1.PodPhase) corev1.PodStatus {
		return corev1.PodStatus{Phase: phase, PodIPs: []corev1.PodIP{{IP: "10.42.0.2"}}}
	}
	for name, tt := range map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"running":                 {corev1.Pod{Status: status(corev1.PodRunning)}, true},
		"not started":             {corev1.Pod{Status: status(corev1.PodPending)}, true},
		"ended":                   {corev1.Pod{Status: status(corev1.PodSucceeded)}, false},
		"failed":                  {corev1.Pod{Status: status(corev1.PodFailed)}, false},
		"in the node's network":   {corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}, Status: status(corev1.PodRunning)}, false},
		"on its way out":          {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}, Status: status(corev1.PodRunning)}, true},
		"of nobody who tells yet": {corev1.Pod{}, true},
	} {
		if got := counts(&tt.pod); got != tt.want {
			t.Errorf("a pod that is %s counts: %t", name, got)
		}
	}
}

func TestPodOf(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: "TCP"}, {ContainerPort: 9090, Protocol: "TCP"}}}},
			InitContainers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 1, Protocol: "TCP"}}},
				{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "sidecar", ContainerPort: 2, Protocol: "UDP"}}},
			},
		},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.42.0.2"}, {IP: "fd00:42::2"}}},
	}
	got := podOf(p, nil)
	if len(got.Addrs) != 2 || got.Addrs[0] != netip.MustParseAddr("10.42.0.2") || got.Addrs[1] != netip.MustParseAddr("fd00:42::2") {
		t.Errorf("its addresses are %v", got.Addrs)
	}
	if len(got.Ports) != 2 || got.Ports[0] != (NamedPort{"http", "TCP", 8080}) || got.Ports[1] != (NamedPort{"sidecar", "UDP", 2}) {
		t.Errorf("its ports are %v", got.Ports)
	}
	if early := podOf(p, []netip.Addr{netip.MustParseAddr("10.42.0.7")}); len(early.Addrs) != 1 || early.Addrs[0].String() != "10.42.0.7" {
		t.Errorf("the runtime's address is not taken: %v", early.Addrs)
	}
}
