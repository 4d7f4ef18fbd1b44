package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/perch-k8s/perch/internal/compose"
)

// elsewhere is the unit of a service that has no container of ours: the names that lead to where it is provided, or the chart
// that it is.
func (b *builder) elsewhere(name string) (Unit, error) {
	s := b.services[name]
	w := workload{builder: b, service: s, extension: b.project.Services[name], name: compose.Name(name), image: b.image(name, s.ContainerSpec)}
	unit := Unit{
		Service: name, Release: b.project.Release(name), DependsOn: b.dependencies(name, s.DependsOn),
		Names: slices.Concat([]string{w.name}, w.aliases()),
	}
	slices.Sort(unit.Names)
	if w.extension.Provided != nil {
		b.notWaitedFor(name)
		unit.Objects, unit.Names = w.provided(*w.extension.Provided, unit.Names), nil
		sortObjects(unit.Objects)
		return unit, nil
	}
	c := *w.extension.Chart
	if c.SecretValue != "" {
		secret := b.sensitive(w)
		if secret == nil {
			return Unit{}, fmt.Errorf("x-perch.chart.secret_value: the service has no sensitive variable to put into a Secret")
		}
		unit.Config = []runtime.Object{secret}
		c.Values = withValue(c.Values, strings.Split(c.SecretValue, "."), secret.Name)
	}
	unit.Chart = &c
	b.note(runs{path: "services." + name}, "x-perch.chart", "the release is the chart %s: what it makes is not shown here", c)
	return unit, nil
}

// sensitive is the Secret of the service's sensitive variables, nil when it has none.
func (b *builder) sensitive(w workload) *corev1.Secret {
	_, objects := b.environment(w.service.Name, w.service.Environment, w.extension)
	for _, o := range objects {
		if secret, ok := o.(*corev1.Secret); ok {
			return secret
		}
	}
	return nil
}

// withValue is a copy of the values with one at a path of keys.
func withValue(values map[string]any, path []string, value string) map[string]any {
	all := make(map[string]any, len(values)+1)
	for k, v := range values {
		all[k] = v
	}
	if len(path) == 1 {
		all[path[0]] = value
		return all
	}
	below, _ := all[path[0]].(map[string]any)
	all[path[0]] = withValue(below, path[1:], value)
	return all
}

// notWaitedFor notes who wants to wait for the health of a service that is provided: whoever provides it sees to that.
func (b *builder) notWaitedFor(name string) {
	for _, other := range sortedKeys(b.services) {
		if b.services[other].DependsOn[name].Condition == types.ServiceConditionHealthy {
			b.note(runs{path: "services." + other}, "depends_on."+name, "service %q is provided from elsewhere: nothing is waited for", name)
		}
	}
}

// provided are the names of a service that is provided, as they are of any other: aliases of its DNS name, or Services with its
// address. Where nobody says what it is, there are none.
func (w workload) provided(p compose.Provided, names []string) []runtime.Object {
	if p.Host == "" {
		return nil
	}
	var objects []runtime.Object
	for _, name := range names {
		s := w.bareService(name, w.service.Name)
		s.Spec.Selector = nil
		if address, err := netip.ParseAddr(p.Host); err == nil {
			s.Spec.ClusterIP = corev1.ClusterIPNone
			s.Spec.Ports = w.providedPorts(p)
			objects = append(objects, s, w.endpoint(name, address.Unmap(), s.Spec.Ports))
			continue
		}
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, strings.TrimSuffix(p.Host, ".")
		objects = append(objects, s)
	}
	return objects
}

// providedPorts are the port that is said, else those of the service in the file.
func (w workload) providedPorts(p compose.Provided) []corev1.ServicePort {
	if p.Port != 0 {
		return []corev1.ServicePort{{Name: fmt.Sprintf("tcp-%d", p.Port), Port: p.Port, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(p.Port)}}
	}
	var all []corev1.ServicePort
	for _, port := range w.servicePorts() {
		all = append(all, corev1.ServicePort{Name: port.name, Port: port.port, Protocol: port.protocol, TargetPort: intstr.FromInt32(port.port)})
	}
	return all
}

// endpoint is the address behind a Service that selects no pods.
func (w workload) endpoint(name string, address netip.Addr, ports []corev1.ServicePort) *discoveryv1.EndpointSlice {
	meta := w.builder.meta(compose.NameWithin(name, 53)+"-provided", w.service.Name)
	meta.Labels[discoveryv1.LabelServiceName] = name
	meta.Labels[discoveryv1.LabelManagedBy] = "perch"
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, ObjectMeta: meta,
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}
	if address.Is6() {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, p := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol)})
	}
	return slice
}
