// Package publisher makes Services of type LoadBalancer answer on 127.0.0.1 and ::1 of the host at their port, as Compose's
// published ports do. It watches Services, opens sockets, and writes what it opened, or why not, into the Service's
// status. It decides nothing about pods: kube-proxy inside the sandbox does.
package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/perch-k8s/perch/internal/node/network"
)

// BindIP is the address of the host that everything is published on. Services are on bindIP6 beside it, where the host has
// it: localhost may be that one first.
const (
	BindIP  = "127.0.0.1"
	bindIP6 = "::1"
)

// retryAfter is how long a port that could not be opened waits for its next try.
const retryAfter = time.Second

// Port is one port of the host that answers for a Service.
type Port struct {
	Port      int32  `json:"port"`
	Protocol  string `json:"protocol"` // TCP or UDP
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Error     string `json:"error,omitempty"` // why it does not answer

	target string // cluster IP and port
}

type key struct {
	port     int32
	protocol string
}

// Publisher keeps the host's sockets as the Services say.
type Publisher struct {
	Client kubernetes.Interface
	Dial   network.DialFunc // connects from inside the sandbox

	mu    sync.Mutex
	ports map[key]*socket
}

type socket struct {
	Port
	close func()
}

// Ports are the ports of now, sorted.
func (p *Publisher) Ports() []Port {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports []Port
	for _, s := range p.ports {
		ports = append(ports, s.Port)
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return ports
}

// Run watches and publishes until ctx ends; then every socket is closed.
func (p *Publisher) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ports = map[key]*socket{}
	p.mu.Unlock()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(p.Client, 0)
	services := factory.Core().V1().Services()
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(any, any) { poke() },
		DeleteFunc: func(any) { poke() },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer p.apply(ctx, nil)
	for {
		var retry <-chan time.Time
		if cache.WaitForCacheSync(ctx.Done(), services.Informer().HasSynced) {
			list := listOf(services.Informer().GetStore())
			p.apply(ctx, wanted(list))
			if p.writeStatus(ctx, list) != nil || p.failing() {
				retry = time.After(retryAfter)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
	}
}

func listOf(store cache.Store) []*corev1.Service {
	var list []*corev1.Service
	for _, o := range store.List() {
		list = append(list, o.(*corev1.Service))
	}
	// Older first: who has a port keeps it.
	slices.SortFunc(list, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	return list
}

// wanted is pure: which ports the Services ask for. The first to ask for a port gets it.
func wanted(services []*corev1.Service) map[key]Port {
	want := map[key]Port{}
	for _, s := range services {
		if !published(s) {
			continue
		}
		for _, port := range s.Spec.Ports {
			k := key{port.Port, string(cmp.Or(port.Protocol, corev1.ProtocolTCP))}
			if _, taken := want[k]; !taken {
				want[k] = Port{
					Port: k.port, Protocol: k.protocol, Namespace: s.Namespace, Service: s.Name,
					target: net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(int(port.Port))),
				}
			}
		}
	}
	return want
}

func published(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.DeletionTimestamp == nil &&
		s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone
}

// apply closes what is not wanted and opens what is.
func (p *Publisher) apply(ctx context.Context, want map[key]Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, have := range p.ports {
		if w, ok := want[k]; !ok || w.target != have.target || have.Error != "" {
			have.close()
			delete(p.ports, k)
		}
	}
	for k, w := range want {
		if _, open := p.ports[k]; open {
			continue
		}
		s := &socket{Port: w}
		var err error
		if s.close, err = p.open(ctx, w); err != nil {
			s.Error, s.close = reason(err), func() {}
		}
		p.ports[k] = s
	}
}

// open starts to forward one port, on both addresses. The returned function ends it and its connections.
func (p *Publisher) open(ctx context.Context, port Port) (func(), error) {
	sockets, err := listen(ctx, port.Protocol, port.Port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	for _, socket := range sockets {
		served.Go(func() {
			switch s := socket.(type) {
			case net.Listener:
				network.ForwardTCP(ctx, s, p.Dial, port.target)
			case net.PacketConn:
				network.ForwardUDP(ctx, s, p.Dial, port.target)
			}
		})
	}
	return func() {
		cancel()
		closeAll(sockets)
		served.Wait()
	}, nil
}

// Bindable says why a port, of TCP or UDP, cannot be published; nil when it can.
func Bindable(ctx context.Context, protocol string, port int32) error {
	sockets, err := listen(ctx, protocol, port)
	closeAll(sockets)
	return err
}

// listen opens a port on both addresses. They are net.Listener or net.PacketConn.
func listen(ctx context.Context, protocol string, port int32) ([]io.Closer, error) {
	var sockets []io.Closer
	for _, ip := range []string{BindIP, bindIP6} {
		address := net.JoinHostPort(ip, strconv.Itoa(int(port)))
		var socket io.Closer
		var err error
		switch protocol {
		case string(corev1.ProtocolTCP):
			socket, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		case string(corev1.ProtocolUDP):
			socket, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
		default:
			err = fmt.Errorf("protocol %s cannot be published", protocol)
		}
		if ip == bindIP6 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			break // a host without IPv6
		}
		if err != nil {
			closeAll(sockets)
			return nil, err
		}
		sockets = append(sockets, socket)
	}
	return sockets, nil
}

func closeAll(sockets []io.Closer) {
	for _, s := range sockets {
		_ = s.Close()
	}
}

func reason(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program of this machine has the port"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need root"
	}
	return err.Error()
}

func (p *Publisher) failing() bool {
	for _, port := range p.Ports() {
		if port.Error != "" {
			return true
		}
	}
	return false
}

// writeStatus tells in each Service's status what answers for it. ipMode Proxy keeps kube-proxy from taking packets to
// 127.0.0.1 for the Service.
func (p *Publisher) writeStatus(ctx context.Context, services []*corev1.Service) error {
	var errs []error
	for _, s := range services {
		if !published(s) {
			continue
		}
		status := corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{p.ingress(s)}}
		if reflect.DeepEqual(s.Status.LoadBalancer, status) {
			continue
		}
		s = s.DeepCopy()
		s.Status.LoadBalancer = status
		_, err := p.Client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, s, metav1.UpdateOptions{})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p *Publisher) ingress(s *corev1.Service) corev1.LoadBalancerIngress {
	proxy := corev1.LoadBalancerIPModeProxy
	in := corev1.LoadBalancerIngress{IP: BindIP, IPMode: &proxy}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range s.Spec.Ports {
		protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
		status := corev1.PortStatus{Port: port.Port, Protocol: protocol}
		have := p.ports[key{port.Port, string(protocol)}]
		if have == nil || have.Error != "" || have.Namespace != s.Namespace || have.Service != s.Name {
			status.Error = new("PortInUse")
		}
		in.Ports = append(in.Ports, status)
	}
	return in
}
