package publisher

import (
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
