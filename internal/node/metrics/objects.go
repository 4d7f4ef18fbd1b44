package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryapply "k8s.io/client-go/applyconfigurations/discovery/v1"
	rbacapply "k8s.io/client-go/applyconfigurations/rbac/v1"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// The Service through which the API server finds this process, named as everybody's metrics-server is, and as the
// certificate says.
const (
	namespace   = "kube-system"
	serviceName = "metrics-server"
	servicePort = 443
	manager     = "perch-node"
)

// ensureObjects makes the Service, its endpoint, the roles of readers, and at last the registration. In the first moments
// of a cluster its API refuses some of them.
func (s *Server) ensureObjects(ctx context.Context) error {
	const pause = 50 * time.Millisecond
	for {
		err := s.apply(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("metrics API: %w", err)
		}
	}
}

func (s *Server) apply(ctx context.Context) error {
	force := metav1.ApplyOptions{FieldManager: manager, Force: true}
	if _, err := s.client.CoreV1().Services(namespace).Apply(ctx, service(), force); err != nil {
		return err
	}
	if _, err := s.client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, s.endpoints(), force); err != nil {
		return err
	}
	if _, err := s.client.RbacV1().ClusterRoles().Apply(ctx, readers(), force); err != nil {
		return err
	}
	return s.register(ctx)
}

func service() *coreapply.ServiceApplyConfiguration {
	return coreapply.Service(serviceName, namespace).
		WithSpec(coreapply.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).
			WithPorts(coreapply.ServicePort().WithName("https").WithPort(servicePort)))
}

// endpoints is where the Service leads: no pod stands behind it.
func (s *Server) endpoints() *discoveryapply.EndpointSliceApplyConfiguration {
	return discoveryapply.EndpointSlice(serviceName+"-node", namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: serviceName, discoveryv1.LabelManagedBy: manager}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(discoveryapply.Endpoint().
			WithAddresses(s.NodeIP.String()).
			WithConditions(discoveryapply.EndpointConditions().WithReady(true))).
		WithPorts(discoveryapply.EndpointPort().WithName("https").WithPort(Port))
}

// readers lets those who may view things see what they use.
func readers() *rbacapply.ClusterRoleApplyConfiguration {
	labels := map[string]string{}
	for _, role := range []string{"view", "edit", "admin"} {
		labels["rbac.authorization.k8s.io/aggregate-to-"+role] = "true"
	}
	return rbacapply.ClusterRole("system:aggregated-metrics-reader").WithLabels(labels).
		WithRules(rbacapply.PolicyRule().WithAPIGroups(v1beta1.GroupName).WithResources("pods", "nodes").WithVerbs("get", "list", "watch"))
}

// register tells the API server's aggregation of the API.
func (s *Server) register(ctx context.Context) error {
	authority, err := os.ReadFile(s.CA)
	if err != nil {
		return err
	}
	port := int32(servicePort)
	object, err := json.Marshal(registration.APIService{
		TypeMeta:   metav1.TypeMeta{Kind: "APIService", APIVersion: registration.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{Name: v1beta1.SchemeGroupVersion.Version + "." + v1beta1.GroupName},
		Spec: registration.APIServiceSpec{
			Service: &registration.ServiceReference{Namespace: namespace, Name: serviceName, Port: &port},
			Group:   v1beta1.GroupName, Version: v1beta1.SchemeGroupVersion.Version,
			CABundle: authority, GroupPriorityMinimum: 100, VersionPriority: 100,
		},
	})
	if err != nil {
		return err
	}
	force := true
	_, err = s.aggregator.ApiregistrationV1().APIServices().Patch(ctx, v1beta1.SchemeGroupVersion.Version+"."+v1beta1.GroupName,
		types.ApplyPatchType, object, metav1.PatchOptions{FieldManager: manager, Force: &force})
	return err
}
