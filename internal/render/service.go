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
)

// containerPort is a port that the container listens on, as far as the file or the image says.
type containerPort struct {
	name     string // a DNS label, at most 15 characters; Services and probes refer to it
	port     int32
	protocol corev1.Protocol
	app      string // appProtocol of the Service
	declared bool   // by the file, not only by the image
}

// servicePorts are the ports of a service: ports, then expose, then what the image exposes; each once.
func (w workload) servicePorts() []containerPort {
	var all []containerPort
	add := func(p containerPort) {
		for i, known := range all {
			if known.port == p.port && known.protocol == p.protocol {
				if p.app != "" && known.app == "" {
					all[i].app = p.app
				}
				return
			}
		}
		if p.name == "" || slices.ContainsFunc(all, func(k containerPort) bool { return k.name == p.name }) {
			p.name = fmt.Sprintf("%s-%d", strings.ToLower(string(p.protocol)), p.port)
		}
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
	for _, p := range w.image.exposed() {
		add(p)
	}
	return all
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

// published are the ports that the file publishes on the host.
func (w workload) published() []Port {
	var all []Port
	for _, p := range w.service.Ports {
		first, _, _ := strings.Cut(p.Published, "-") // of a range of candidates the first is taken
		if n, ok := number(first); ok && n > 0 {
			proto := protocol(p.Protocol)
			all = append(all, Port{
				HostIP: p.HostIP, Published: n, Target: int32(p.Target), Protocol: string(proto), //nolint:gosec // a port
				HTTP: proto == corev1.ProtocolTCP && w.likelyHTTP(p),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Published, b.Published), cmp.Compare(a.Protocol, b.Protocol))
	})
	return slices.CompactFunc(all, func(a, b Port) bool { return a.Published == b.Published && a.Protocol == b.Protocol })
}

// likelyHTTP guesses whether a browser can open the port: everything can but what is known to speak something else.
func (w workload) likelyHTTP(p types.ServicePortConfig) bool {
	switch p.AppProtocol {
	case "http", "https", "http2", "h2c", "grpc":
		return true
	case "":
	default:
		return false
	}
	known := []uint32{21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2181, 2222, 3306, 4222, 5432, 5433,
		5671, 5672, 6379, 6432, 7000, 7687, 8883, 9042, 9092, 11211, 26379, 27017, 33060}
	return !slices.Contains(known, p.Target)
}

// services are the names under which other pods, and the host, reach the service.
func (w workload) services() []runtime.Object {
	if w.kind() == oneShot && len(w.ports) == 0 {
		return nil
	}
	objects := []runtime.Object{w.clusterService(w.name)}
	for _, alias := range w.aliases() {
		objects = append(objects, w.clusterService(alias))
	}
	if w.headless() {
		objects = append(objects, w.podsService())
	}
	if published := w.published(); w.target.LoadBalancer && len(published) > 0 {
		objects = append(objects, w.publishedService(published))
	}
	return objects
}

func (w workload) bareService(name string) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: w.builder.meta(name, w.service.Name),
		Spec:       corev1.ServiceSpec{Selector: w.selector(w.name), Type: corev1.ServiceTypeClusterIP},
	}
}

// clusterService answers inside at the ports of the container, as in Compose. With no port known it is headless: the
// name still resolves.
func (w workload) clusterService(name string) *corev1.Service {
	s := w.bareService(name)
	if len(w.ports) == 0 {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	s.Spec.Ports = w.servicePortList()
	return s
}

func (w workload) servicePortList() []corev1.ServicePort {
	var all []corev1.ServicePort
	for _, p := range w.ports {
		port := corev1.ServicePort{Name: p.name, Port: p.port, Protocol: p.protocol, TargetPort: intstr.FromString(p.name)}
		if p.app != "" && len(validation.IsQualifiedName(p.app)) == 0 {
			port.AppProtocol = new(p.app)
		}
		all = append(all, port)
	}
	return all
}

// headless tells whether pods of the service can look up each other.
func (w workload) headless() bool {
	if w.extension.Headless != nil {
		return *w.extension.Headless
	}
	return w.replicas() >= 2 && w.kind() != oneShot
}

func (w workload) podsService() *corev1.Service {
	s := w.bareService(podsName(w.name))
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.Ports = w.servicePortList()
	return s
}

func podsName(name string) string { return compose.NameWithin(name, 58) + "-pods" }

// publishedService answers on the host, at the published ports only. It is a Service of its own, since one Service with
// both would publish every port of the container.
func (w workload) publishedService(published []Port) *corev1.Service {
	s := w.bareService(compose.NameWithin(w.name, 53) + "-published")
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	for _, p := range published {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name:       strings.ToLower(p.Protocol) + "-" + strconv.Itoa(int(p.Published)),
			Port:       p.Published,
			Protocol:   corev1.Protocol(p.Protocol),
			TargetPort: intstr.FromString(w.portName(p)),
		})
	}
	return s
}

func (w workload) portName(p Port) string {
	for _, known := range w.ports {
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
