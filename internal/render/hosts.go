package render

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// site is one host of a service, as the target has it.
type site struct {
	compose.Host
	path    []string // of it in the Compose file
	host    string   // its full name
	of      string   // the service in the Compose file
	backend string   // the Service that requests go to
	port    containerPort
	secret  string // with the certificate; "": none is named
	issuer  bool   // cert-manager is to make it
}

// url is what a browser opens, "" for a wildcard.
func (s site) url() string {
	if strings.HasPrefix(s.host, "*") {
		return ""
	}
	scheme := "http"
	if s.secret != "" {
		scheme = "https"
	}
	return scheme + "://" + s.host + s.prefix()
}

func (s site) prefix() string {
	if s.Path == "" {
		return "/"
	}
	return s.Path
}

// worldly makes the Ingresses and routes of the pod's services, and where they answer. Perch's own node has no controller for
// them: published ports answer there.
func (w workload) worldly() (objects []runtime.Object, hosts []Host) {
	if w.target.Embedded {
		for _, part := range w.parts() {
			part.noteHosts()
		}
		return nil, nil
	}
	for _, part := range w.parts() {
		backend := part.name
		if !ownNetwork(part.service.ContainerSpec) {
			backend = w.name
		}
		for i, s := range part.sites(backend) {
			name := part.name
			if i > 0 {
				name = compose.NameWithin(part.name, 52) + "-" + hash10([]string{s.host, s.prefix()})
			}
			objects = append(objects, part.way(s, name))
			if url := s.url(); url != "" {
				hosts = append(hosts, Host{URL: url})
			}
		}
	}
	return objects, hosts
}

// noteHosts says of each host where the service answers instead.
func (w workload) noteHosts() {
	for _, h := range w.extension.Host {
		text := "this node has no way in from the world: publish the port with ports: to reach it here"
		port, known := w.hostPort(h)
		for _, p := range w.published() {
			if known && p.Target == port.port && p.Protocol == string(port.protocol) {
				text = fmt.Sprintf("this node has no way in from the world: it answers at http://127.0.0.1:%d here", p.Published)
			}
		}
		w.note(runs{path: "services." + w.service.Name}, "x-perch.host", "%s", text)
	}
}

// sites are the hosts of one service, as far as nothing is wrong with them.
func (w workload) sites(backend string) []site {
	var all []site
	for i, h := range w.extension.Host {
		s := site{Host: h, of: w.service.Name, backend: backend, path: w.hostPath(i)}
		if ok := w.nameSite(&s) && w.portOfSite(&s) && w.certify(&s); ok {
			all = append(all, s)
		}
	}
	return all
}

// hostPath is where a host stands. One that is no list in the file is found at its key all the same.
func (w workload) hostPath(i int) []string {
	path := []string{"services", w.service.Name, "x-perch", "host"}
	if len(w.extension.Host) > 1 {
		path = append(path, fmt.Sprint(i))
	}
	return path
}

// nameSite gives a host its full name, which no other service may have with the same path.
func (w workload) nameSite(s *site) bool {
	s.host = s.Name
	if s.host == "" {
		s.host = w.name
	}
	if !strings.Contains(s.host, ".") {
		if w.target.Domain == "" {
			w.problem(fmt.Sprintf("%q is not the whole name of a host, and the target has no domain to complete it", s.host),
				fmt.Sprintf("write it out, as in %s.example.com, or domain: in the target", s.host), s.path...)
			return false
		}
		s.host += "." + w.target.Domain
	}
	key := s.host + s.prefix()
	if other, taken := w.hosts[key]; taken {
		w.problem(fmt.Sprintf("service %q answers at %s too", other, key), "give one of them another name, or a path", s.path...)
		return false
	}
	w.hosts[key] = w.service.Name
	return true
}

// portOfSite gives a host the port that its requests go to.
func (w workload) portOfSite(s *site) bool {
	port, ok := w.hostPort(s.Host)
	s.port = port
	switch {
	case ok:
		return true
	case w.image.Config == nil:
		w.note(runs{path: "services." + w.service.Name}, "x-perch.host", "%s has no way in yet: the port that the image listens on is not known", s.host)
		return false
	}
	why := "the service has several"
	if len(w.ports) == 0 {
		why = "neither the file nor the image tells of one"
	}
	w.problem(fmt.Sprintf("which port %s leads to is not clear: %s", s.host, why), "write it, as in host: {name: "+s.host+", port: 8080}", s.path...)
	return false
}

// hostPort is the port that a host leads to: the given one, the one that is asked whether the service is ready, the only one, or
// the only one that is published and may be HTTP.
func (w workload) hostPort(h compose.Host) (containerPort, bool) {
	if h.Port > 0 {
		for _, p := range w.ports {
			if p.port == h.Port && p.protocol == corev1.ProtocolTCP {
				return p, true
			}
		}
	}
	if p, ok := w.onlyPort(); ok {
		return p, true
	}
	published := map[int32]bool{}
	for _, p := range w.service.Ports {
		published[int32(p.Target)] = p.Published != "" && likelyHTTP(p) //nolint:gosec // a port
	}
	var all, browsable []containerPort
	for _, p := range w.ports {
		if p.protocol != corev1.ProtocolTCP || p.extra {
			continue
		}
		all = append(all, p)
		if published[p.port] {
			browsable = append(browsable, p)
		}
	}
	for _, found := range [][]containerPort{all, browsable} {
		if len(found) == 1 {
			return found[0], true
		}
	}
	return containerPort{}, false
}

// appProtocol tells gateways and controllers what a container speaks, where that is not what they take for granted. The names
// are Kubernetes' own (KEP-3726).
func appProtocol(protocol string) string {
	switch protocol {
	case "h2c", "grpc":
		return "kubernetes.io/h2c"
	case "websocket":
		return "kubernetes.io/ws"
	}
	return ""
}

// speak gives the ports of hosts their protocol.
func (w *workload) speak() {
	for _, h := range w.extension.Host {
		port, ok := w.hostPort(h)
		for i := range w.ports {
			if ok && samePort(w.ports[i], port) && w.ports[i].app == "" {
				w.ports[i].app = appProtocol(h.Protocol)
			}
		}
	}
}

// certManager is what begins the annotations that ask cert-manager for a certificate.
const certManager = "cert-manager.io/"

// certify decides which certificate a host has.
func (w workload) certify(s *site) bool {
	switch s.TLS {
	case compose.TLSNone:
		return true
	case compose.TLSDefault:
		if w.target.Issuer == "" {
			return true
		}
	case compose.TLSCertManager:
		_, own := s.Annotations[certManager+"issuer"]
		_, cluster := s.Annotations[certManager+"cluster-issuer"]
		if w.target.Issuer == "" && !own && !cluster {
			w.problem("tls: cert-manager needs to know which issuer", "write issuer: in the target, or the annotation "+certManager+"cluster-issuer here", append(s.path, "tls")...)
			return false
		}
	default:
		s.secret = string(s.TLS)
		return true
	}
	s.secret, s.issuer = compose.NameWithin(s.host, 59)+"-tls", true
	return true
}

// gateway is the Gateway that a host is a route of, "" when it is an Ingress.
func (w workload) gateway(s site) string {
	switch {
	case s.Gateway != "":
		return s.Gateway
	case w.target.Gateway == "" || s.Class != "":
		return ""
	case !w.target.GatewayAPI:
		w.note(runs{path: "services." + s.of}, "x-perch.host", "%s is an Ingress: the cluster has no Gateway API for the target's gateway %s", s.host, w.target.Gateway)
		return ""
	}
	return w.target.Gateway
}

// way is the object that leads requests from the world to the service.
func (w workload) way(s site, name string) runtime.Object {
	if gateway := w.gateway(s); gateway != "" {
		return w.route(s, name, gateway)
	}
	return w.ingress(s, name)
}

func (w workload) ingress(s site, name string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	i := &networkingv1.Ingress{
		ObjectMeta: w.builder.meta(name, s.of),
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: s.host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: s.prefix(), PathType: &prefix,
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: s.backend, Port: networkingv1.ServiceBackendPort{Number: s.port.port},
				}},
			}}}},
		}}},
	}
	i.APIVersion, i.Kind = "networking.k8s.io/v1", "Ingress"
	class := s.Class
	if class == "" {
		class = w.target.IngressClass
	}
	if class != "" {
		i.Spec.IngressClassName = &class
	}
	if s.secret != "" {
		i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{s.host}, SecretName: s.secret}}
	}
	w.askFor(i.Annotations, s, class)
	for key, value := range s.Annotations {
		putAnnotation(&i.ObjectMeta, key, value)
	}
	return i
}

// askFor puts on an Ingress what only annotations say: who makes the certificate, who may come, what the container speaks.
func (w workload) askFor(annotations map[string]string, s site, class string) {
	_, own := s.Annotations[certManager+"issuer"]
	_, cluster := s.Annotations[certManager+"cluster-issuer"]
	if s.issuer && !own && !cluster {
		if _, name, namespaced := strings.Cut(w.target.Issuer, "/"); namespaced {
			annotations[certManager+"issuer"] = name
		} else {
			annotations[certManager+"cluster-issuer"] = w.target.Issuer
		}
	}
	controller := w.controller(class)
	if s.Protocol == "grpc" && controller == nginx {
		annotations["nginx.ingress.kubernetes.io/backend-protocol"] = "GRPC"
	}
	if len(s.SourceRanges) == 0 {
		return
	}
	switch key := allowList(controller); {
	case key != "":
		annotations[key] = strings.Join(s.SourceRanges, ",")
	default:
		w.problem(fmt.Sprintf("source_ranges: an Ingress has no word for it, and what its controller %q calls it is not known", controller),
			"write the controller's own word under annotations, and leave source_ranges out", append(s.path, "source_ranges")...)
	}
}

// nginx is what ingress-nginx calls itself in its IngressClass.
const nginx = "k8s.io/ingress-nginx"

// controller is who carries out an Ingress. Where the cluster was not asked, a class called nginx is taken for the one that is
// called so by its own installation.
func (w workload) controller(class string) string {
	switch known := w.target.IngressController; {
	case known != "" && class == w.target.IngressClass:
		return known
	case known == "" && class == "nginx":
		return nginx
	}
	return ""
}

// allowList is the annotation by which a controller lets in some addresses only, "" when it has none or is not known.
func allowList(controller string) string {
	switch controller {
	case nginx:
		return "nginx.ingress.kubernetes.io/whitelist-source-range"
	case "haproxy-ingress.github.io/controller":
		return "haproxy-ingress.github.io/allowlist-source-range"
	case "haproxy.org/ingress-controller/haproxy":
		return "haproxy.org/allow-list"
	}
	return ""
}
