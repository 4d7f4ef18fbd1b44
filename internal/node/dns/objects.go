package dns

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryapply "k8s.io/client-go/applyconfigurations/discovery/v1"
)

const (
	namespace   = "kube-system"
	serviceName = "kube-dns" // the name every tool looks for
)

// ensureObjects makes the Service, and the EndpointSlice that leads to this process: no pod stands behind it, so no
// controller writes one. In the first moments of a cluster its API refuses Services, having no network for them yet.
func (s *Server) ensureObjects(ctx context.Context) error {
	const pause = 20 * time.Millisecond
	force := metav1.ApplyOptions{FieldManager: "perch-node", Force: true}
	for {
		_, err := s.client.CoreV1().Services(namespace).Apply(ctx, s.service(), force)
		if err == nil {
			_, err = s.client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, s.endpoints(), force)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("service %s/%s: %w", namespace, serviceName, err)
		}
	}
}

// service is the Service without a selector.
func (s *Server) service() *coreapply.ServiceApplyConfiguration {
	ports := make([]*coreapply.ServicePortApplyConfiguration, 0, 2)
	for _, p := range protocols() {
		ports = append(ports, coreapply.ServicePort().WithName(p.name).WithProtocol(p.protocol).WithPort(port))
	}
	return coreapply.Service(serviceName, namespace).
		WithLabels(map[string]string{"k8s-app": serviceName, "kubernetes.io/name": "CoreDNS"}).
		WithSpec(coreapply.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithClusterIP(s.ServiceIP.String()).WithPorts(ports...))
}

// endpoints is where the Service leads.
func (s *Server) endpoints() *discoveryapply.EndpointSliceApplyConfiguration {
	ports := make([]*discoveryapply.EndpointPortApplyConfiguration, 0, 2)
	for _, p := range protocols() {
		ports = append(ports, discoveryapply.EndpointPort().WithName(p.name).WithProtocol(p.protocol).WithPort(port))
	}
	return discoveryapply.EndpointSlice(serviceName+"-node", namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: serviceName, discoveryv1.LabelManagedBy: "perch-node"}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(discoveryapply.Endpoint().
			WithAddresses(s.NodeIP.String()).
			WithConditions(discoveryapply.EndpointConditions().WithReady(true))).
		WithPorts(ports...)
}

type namedProtocol struct {
	name     string
	protocol corev1.Protocol
}

func protocols() []namedProtocol {
	return []namedProtocol{{"dns", corev1.ProtocolUDP}, {"dns-tcp", corev1.ProtocolTCP}}
}
