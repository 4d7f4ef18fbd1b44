package dns

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func server(upstream, hostIP string) *Server {
	return &Server{
		Kubeconfig: "/node/pki/dns.kubeconfig", ClusterDomain: "cluster.local", NodeIP: net.IPv4(10, 99, 0, 2),
		ServiceIP: net.IPv4(10, 43, 0, 10), Upstream: upstream, HostIP: hostIP,
	}
}

func TestCorefile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ upstream, host, want string }{
		"with an upstream": {"169.254.20.53:53", "10.99.0.1", `. {
	bind 10.99.0.2
	errors
	composenames cluster.local
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		kubeconfig "/node/pki/dns.kubeconfig"
		pods insecure
		ttl 5
		fallthrough in-addr.arpa ip6.arpa
	}
	hosts /dev/null {
		10.99.0.1 host.docker.internal
		ttl 30
		fallthrough
	}
	cache 30 {
		disable success cluster.local
		disable denial cluster.local
	}
	forward . 169.254.20.53:53 {
		max_fails 0
	}
}
`},
		"without": {"", "", `cluster.local in-addr.arpa ip6.arpa {
	bind 10.99.0.2
	errors
	composenames cluster.local
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		kubeconfig "/node/pki/dns.kubeconfig"
		pods insecure
		ttl 5
		fallthrough in-addr.arpa ip6.arpa
	}
}
`},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, server(tt.upstream, tt.host).corefile()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestServiceLeadsToTheNode(t *testing.T) {
	t.Parallel()
	s := server("", "")
	service, slice := s.service(), s.endpoints()
	if *service.Spec.ClusterIP != "10.43.0.10" || len(service.Spec.Selector) != 0 {
		t.Errorf("service %v", service.Spec)
	}
	if slice.Labels["kubernetes.io/service-name"] != *service.Name || slice.Endpoints[0].Addresses[0] != "10.99.0.2" {
		t.Errorf("endpoints %v", slice)
	}
	got := map[corev1.Protocol]string{}
	for i, p := range service.Spec.Ports {
		if *p.Name != *slice.Ports[i].Name || *p.Port != *slice.Ports[i].Port || *p.Protocol != *slice.Ports[i].Protocol {
			t.Errorf("port %v of the service, %v of the endpoints", p, slice.Ports[i])
		}
		got[*p.Protocol] = *p.Name
	}
	if diff := cmp.Diff(map[corev1.Protocol]string{"UDP": "dns", "TCP": "dns-tcp"}, got); diff != "" {
		t.Error(diff)
	}
}
