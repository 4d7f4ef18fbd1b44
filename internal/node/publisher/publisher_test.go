package publisher

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func service(namespace, name string, age time.Duration, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.43.0.7",
			Ports: []corev1.ServicePort{{Port: 4000, Protocol: corev1.ProtocolTCP}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestWanted(t *testing.T) {
	t.Parallel()
	class := "other"
	now := metav1.Now()
	web := Port{Port: 4000, Protocol: "TCP", Namespace: "shop", Service: "web", target: "10.43.0.7:4000"}
	tests := map[string]struct {
		services []*corev1.Service
		want     map[key]Port
	}{
		"one": {[]*corev1.Service{service("shop", "web", 0, nil)}, map[key]Port{{4000, "TCP"}: web}},
		"the first to ask has the port": {
			[]*corev1.Service{service("shop", "web", 2, nil), service("blog", "web", 1, nil)},
			map[key]Port{{4000, "TCP"}: web},
		},
		"TCP and UDP of one number": {
			[]*corev1.Service{service("shop", "web", 0, func(s *corev1.Service) {
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 4000, Protocol: corev1.ProtocolUDP})
			})},
			map[key]Port{{4000, "TCP"}: web, {4000, "UDP"}: {Port: 4000, Protocol: "UDP", Namespace: "shop", Service: "web", target: "10.43.0.7:4000"}},
		},
		"not ours": {
			[]*corev1.Service{
				service("a", "clusterip", 0, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
				service("a", "class", 0, func(s *corev1.Service) { s.Spec.LoadBalancerClass = &class }),
				service("a", "going", 0, func(s *corev1.Service) { s.DeletionTimestamp = &now }),
			},
			map[key]Port{},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := wanted(test.services)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(Port{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// localhost may be 127.0.0.1 or ::1 to a client: both answer, and who has the port on either has it.
func TestOpenAnswersOnBothLoopbacks(t *testing.T) {
	t.Parallel()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	taken, err := net.Listen("tcp", "[::1]:0")
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	port := int32(taken.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	p := &Publisher{Dial: (&net.Dialer{}).DialContext}
	want := Port{Port: port, Protocol: "TCP", target: target.Addr().String()}
	if _, err := p.open(t.Context(), want); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("with ::1 taken: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	end, err := p.open(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"127.0.0.1", "::1"} {
		if got, err := readFrom(t.Context(), net.JoinHostPort(ip, strconv.Itoa(int(port)))); err != nil || got != "hello" {
			t.Errorf("%s: %q, %v", ip, got, err)
		}
	}
	end()
	if err := Bindable(t.Context(), "TCP", port); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func readFrom(ctx context.Context, address string) (string, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	data, err := io.ReadAll(c)
	return string(data), err
}
