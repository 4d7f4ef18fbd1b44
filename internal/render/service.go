package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/ports"
)

// containerPort is a port that the container listens on, as far as the file or the image says.
type containerPort struct {
	name     string // a DNS label, at most 15 characters; Services and probes refer to it
	port     int32
	protocol corev1.Protocol
	app      string // appProtocol of the Service
	declared bool   // by the file, not only by the image
	extra    bool   // for metrics only: no port that the service is asked at
}

// servicePorts are the ports of a service: ports, then expose, then those of hosts, then what the image exposes, then that of its
// metrics; each once.
func (w workload) servicePorts() []containerPort {
	var all []containerPort
	at, named := map[containerPort]int{}, map[string]bool{}
	add := func(p containerPort) {
		key := containerPort{port: p.port, protocol: p.protocol}
		if i, known := at[key]; known {
			if all[i].app == "" {
				all[i].app = p.app
			}
			return
		}
		p.name = freeName(p, named)
		at[key], named[p.name] = len(all), true
		all = append(all, p)
	}
	for _, p := range w.service.Ports {
		add(containerPort{name: portName(p.Name), port: int32(p.Target), protocol: protocol(p.Protocol), app: p.AppProtocol, declared: true}) //nolint:gosec // a port
	}
	for _, text := range w.service.Expose {
		for _, p := range portRange(text) {
			p.declared = true
			add(p)
		}
	}
	for _, h := range w.extension.Host {
		if h.Port > 0 {
			add(containerPort{port: h.Port, protocol: corev1.ProtocolTCP, app: appProtocol(h.Protocol), declared: true})
		}
	}
	for _, p := range w.image.exposed() {
		add(p)
	}
	if p := w.extension.Prometheus; p != nil && p.Port > 0 {
		add(containerPort{name: "metrics", port: p.Port, protocol: corev1.ProtocolTCP, extra: true})
	}
	return all
}

// freeName is the name of a port, or one made of its number where it has none or another port has it.
func freeName(p containerPort, taken map[string]bool) string {
	name := p.name
	for n := 1; name == "" || taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", strings.ToLower(string(p.protocol)), p.port)
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
	}
	return name
}

func samePort(a, b containerPort) bool { return a.port == b.port && a.protocol == b.protocol }

func hasPort(all []containerPort, p containerPort) bool {
	return slices.ContainsFunc(all, func(k containerPort) bool { return samePort(k, p) })
}

// portName is a name for a port that Kubernetes takes, "" when the given one is none.
func portName(name string) string {
	if name == "" {
		return ""
	}
	name = compose.Name(name)
	if len(validation.IsValidPortName(name)) > 0 {
		return ""
	}
	return name
}

func protocol(name string) corev1.Protocol {
	switch strings.ToLower(name) {
	case "udp":
		return corev1.ProtocolUDP
	case "sctp":
		return corev1.ProtocolSCTP
	}
	return corev1.ProtocolTCP
}

// portRange reads "80", "80/udp" and "8000-8005/tcp".
func portRange(text string) []containerPort {
	numbers, proto, _ := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(numbers, "-")
	first, ok := number(from)
	last := first
	if isRange {
		var good bool
		last, good = number(to)
		ok = ok && good
	}
	if !ok || first < 1 || last > 65535 {
		return nil
	}
	var all []containerPort
	for p := first; p <= last; p++ {
		all = append(all, containerPort{port: p, protocol: protocol(proto)})
	}
	return all
}

// exposed are the ports that the image says it listens on, sorted.
func (i Image) exposed() []containerPort {
	if i.Config == nil {
		return nil
	}
	var all []containerPort
	for text := range i.Config.ExposedPorts {
		all = append(all, portRange(text)...)
	}
	slices.SortFunc(all, func(a, b containerPort) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
	})
	return all
}

// published are the ports that the file publishes on the host, for all containers of the pod. A container with the
// network of its host publishes all that it listens on.
func (w workload) published() []Port {
	var all []Port
	for _, part := range w.parts() {
		if w.service.NetworkMode == "host" {
			for _, p := range part.ports {
				all = append(all, Port{
					Published: p.port, Target: p.port, Protocol: string(p.protocol),
					HTTP: p.protocol == corev1.ProtocolTCP && likelyHTTP(types.ServicePortConfig{Target: uint32(p.port), AppProtocol: p.app}), //nolint:gosec // a port
				})
			}
			continue
		}
		for _, p := range part.service.Ports {
			first, _, _ := strings.Cut(p.Published, "-") // of a range of candidates the first is taken
			if n, ok := number(first); ok && n > 0 {
				proto := protocol(p.Protocol)
				all = append(all, Port{
					HostIP: p.HostIP, Published: n, Target: int32(p.Target), Protocol: string(proto), //nolint:gosec // a port
					HTTP: proto == corev1.ProtocolTCP && likelyHTTP(p),
				})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Published, b.Published), cmp.Compare(a.Protocol, b.Protocol))
	})
	return slices.CompactFunc(all, func(a, b Port) bool { return a.Published == b.Published && a.Protocol == b.Protocol })
}

// likelyHTTP guesses whether a browser can open the port: everything can but what is known to speak something else.
func likelyHTTP(p types.ServicePortConfig) bool {
	switch p.AppProtocol {
	case "http", "https", "http2", "h2c", "grpc":
		return true
	case "":
	default:
		return false
	}
	return !ports.WellKnown(int32(p.Target)) //nolint:gosec // a port
}

// servicesOf are the names under which other pods, and the host, reach the containers of the pod.
func (w workload) servicesOf() []runtime.Object {
	var objects []runtime.Object
	for i, part := range w.parts() {
		ports := part.ports
		if i == 0 {
			ports = w.allPorts()
		}
		if !ownNetwork(part.service.ContainerSpec) || (w.kind() == oneShot && len(ports) == 0) {
			continue
		}
		objects = append(objects, w.clusterService(part.name, part.service.Name, ports))
		for _, alias := range part.aliases() {
			objects = append(objects, w.clusterService(alias, part.service.Name, ports))
		}
	}
	if w.headless() {
		objects = append(objects, w.podsService())
	}
	if kind := w.exposed(); kind != "" {
		objects = append(objects, w.publishedService(kind, w.published()))
	}
	return objects
}

func (w workload) bareService(name, of string) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: w.builder.meta(name, of),
		Spec:       corev1.ServiceSpec{Selector: w.selector(w.name), Type: corev1.ServiceTypeClusterIP},
	}
}

// clusterService answers inside at the ports of the container, as in Compose. With no port known, or with endpoint_mode:
// dnsrr, it is headless: the name is that of the pods themselves.
func (w workload) clusterService(name, of string, ports []containerPort) *corev1.Service {
	s := w.bareService(name, of)
	if len(ports) == 0 || (w.service.Deploy != nil && w.service.Deploy.EndpointMode == "dnsrr") {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	s.Spec.Ports = servicePortList(ports)
	return s
}

func servicePortList(ports []containerPort) []corev1.ServicePort {
	var all []corev1.ServicePort
	for _, p := range ports {
		port := corev1.ServicePort{Name: p.name, Port: p.port, Protocol: p.protocol, TargetPort: intstr.FromString(p.name)}
		if p.app != "" && len(validation.IsQualifiedName(p.app)) == 0 {
			port.AppProtocol = new(p.app)
		}
		all = append(all, port)
	}
	return all
}

// headless tells whether pods of the service can look up each other. A StatefulSet must have such a Service.
func (w workload) headless() bool {
	switch {
	case !ownNetwork(w.service.ContainerSpec):
		return false
	case w.kind() == statefulSet:
		return true
	case w.extension.Headless != nil:
		return *w.extension.Headless
	}
	return w.replicas() >= 2 && w.kind() != oneShot
}

func (w workload) podsService() *corev1.Service {
	s := w.bareService(podsName(w.name), w.service.Name)
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.Ports = servicePortList(w.allPorts())
	return s
}

func podsName(name string) string { return compose.NameWithin(name, 58) + "-pods" }

// exposed is how the published ports answer: on Perch's own node on the host, elsewhere as x-perch.expose says; "" is not at all.
func (w workload) exposed() corev1.ServiceType {
	switch {
	case len(w.published()) == 0:
		return ""
	case w.target.LoadBalancer:
		return corev1.ServiceTypeLoadBalancer
	}
	return map[string]corev1.ServiceType{
		compose.ExposeCluster: corev1.ServiceTypeClusterIP, compose.ExposeNodePort: corev1.ServiceTypeNodePort,
		compose.ExposeLoadBalancer: corev1.ServiceTypeLoadBalancer,
	}[w.extension.Expose]
}

// publishedService answers at the published ports only. It is a Service of its own, since one Service with both would publish
// every port of the container.
func (w workload) publishedService(kind corev1.ServiceType, published []Port) *corev1.Service {
	s := w.bareService(compose.NameWithin(w.name, 53)+"-published", w.service.Name)
	s.Spec.Type = kind
	if kind == corev1.ServiceTypeLoadBalancer && !w.target.LoadBalancer {
		s.Spec.LoadBalancerSourceRanges = w.extension.SourceRanges
	}
	for _, p := range published {
		port := corev1.ServicePort{
			Name:       strings.ToLower(p.Protocol) + "-" + strconv.Itoa(int(p.Published)),
			Port:       p.Published,
			Protocol:   corev1.Protocol(p.Protocol),
			TargetPort: intstr.FromString(w.portName(p)),
		}
		if kind == corev1.ServiceTypeNodePort && p.Published >= 30000 && p.Published <= 32767 {
			port.NodePort = p.Published // of the range that nodes have by default; another one is given by the cluster
		}
		s.Spec.Ports = append(s.Spec.Ports, port)
	}
	return s
}

func (w workload) portName(p Port) string {
	for _, known := range w.allPorts() {
		if known.port == p.Target && string(known.protocol) == p.Protocol {
			return known.name
		}
	}
	return strconv.Itoa(int(p.Target)) // not reached: every published port is among the ports
}

// aliases are more names of the service: network aliases, its container name, links of others to it.
func (w workload) aliases() []string {
	return compose.Aliases(w.project, w.service.Name)
}
