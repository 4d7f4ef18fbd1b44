package policy

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// learned are addresses of pods as the runtime tells them: when the pod's network is made, before a container of it runs. The
// pod's status has them some 100 ms after that.
type learned struct {
	mu   sync.Mutex
	pods map[types.UID][]netip.Addr
}

func (l *learned) of(uid types.UID) []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[uid]
}

func (l *learned) set(uid types.UID, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pods == nil {
		l.pods = map[types.UID][]netip.Addr{}
	}
	l.pods[uid] = addrs
}

func (l *learned) forget(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pods, uid)
}

// forgetAll leaves the addresses to the pods' status: something may have been missed.
func (l *learned) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.pods)
}

// followRuntime learns from the runtime until ctx ends. A runtime that went away is waited for.
func (c *Controller) followRuntime(ctx context.Context) error {
	soon := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second}
	conn, err := grpc.NewClient("unix://"+c.Runtime, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: time.Second}))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := cri.NewRuntimeServiceClient(conn)
	for {
		err := c.followEvents(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		klog.FromContext(ctx).Info("the runtime's events ended", "err", err)
		c.learned.forgetAll()
		c.poke()
		select {
		case <-time.After(soon.BaseDelay):
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Controller) followEvents(ctx context.Context, client cri.RuntimeServiceClient) error {
	events, err := client.GetContainerEvents(ctx, &cri.GetEventsRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		e, err := events.Recv()
		if err != nil {
			return err
		}
		if uid, addrs := addressed(e); len(addrs) > 0 {
			c.learned.set(uid, addrs)
			c.poke()
		}
	}
}

// addressed are a pod and its addresses, when the event tells that its network was made.
func addressed(e *cri.ContainerEventResponse) (types.UID, []netip.Addr) {
	pod := e.GetPodSandboxStatus()
	if e.GetContainerEventType() != cri.ContainerEventType_CONTAINER_CREATED_EVENT || e.GetContainerId() != pod.GetId() {
		return "", nil
	}
	texts := []string{pod.GetNetwork().GetIp()}
	for _, more := range pod.GetNetwork().GetAdditionalIps() {
		texts = append(texts, more.GetIp())
	}
	var addrs []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, a)
		}
	}
	return types.UID(pod.GetMetadata().GetUid()), addrs
}
