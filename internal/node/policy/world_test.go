package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// The world of the tests: two namespaces with two pods each, the node, cluster DNS on the node, and one address outside.
// Every pod listens on the same ports; the name http means another one in a than in b.

type place struct {
	name   string
	v4, v6 netip.Addr
}

func (p place) addr(version string) netip.Addr {
	if version == "4" {
		return p.v4
	}
	return p.v6
}

func at(name, v4, v6 string) place {
	return place{name, netip.MustParseAddr(v4), netip.MustParseAddr(v6)}
}

func podPlaces() []place {
	return []place{
		at("one/a", "10.42.0.2", "fd00:42::2"), at("one/b", "10.42.0.3", "fd00:42::3"),
		at("two/a", "10.42.0.4", "fd00:42::4"), at("two/b", "10.42.0.5", "fd00:42::5"),
	}
}

func worldPlace() place { return at("world", "192.0.2.9", "2001:db8::9") }
func nodePlace() place  { return at("node", "10.89.0.2", "fd00:89::2") }

func podNets() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00:42::/64")}
}

type service struct {
	protocol corev1.Protocol
	port     uint16
}

func (s service) String() string {
	if s.protocol == corev1.ProtocolUDP {
		return fmt.Sprintf("u%d", s.port)
	}
	return fmt.Sprint(s.port)
}

func services() []service {
	return []service{{corev1.ProtocolTCP, 80}, {corev1.ProtocolTCP, 81}, {corev1.ProtocolUDP, 80}}
}

// snapshot is the world with these policies, as YAML documents.
func snapshot(t testing.TB, policies string) Snapshot {
	t.Helper()
	s := Snapshot{Namespaces: map[string]labels.Set{}}
	for _, p := range podPlaces() {
		namespace, name, _ := strings.Cut(p.name, "/")
		s.Namespaces[namespace] = labels.Set{"kubernetes.io/metadata.name": namespace, "team": "team-" + namespace}
		http := map[string]uint16{"a": 80, "b": 81}[name]
		s.Pods = append(s.Pods, Pod{
			Namespace: namespace, Labels: labels.Set{"pod": name}, Addrs: []netip.Addr{p.v4, p.v6},
			Ports: []NamedPort{{"http", corev1.ProtocolTCP, http}, {"talk", corev1.ProtocolUDP, 80}},
		})
	}
	s.Namespaces["kube-system"] = labels.Set{"kubernetes.io/metadata.name": "kube-system"}
	s.Pods = append(s.Pods, Pod{
		Namespace: "kube-system", Labels: labels.Set{"k8s-app": "kube-dns"}, Addrs: []netip.Addr{nodePlace().v4, nodePlace().v6},
		Ports: []NamedPort{{"dns", corev1.ProtocolUDP, 80}}, OnNode: true,
	})
	for _, text := range strings.Split(policies, "\n---\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		p := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		s.Policies = append(s.Policies, p)
	}
	return s
}

// probe tells whether one place gets through to a service of another.
type probe func(from, to place, s service) bool

// reach is the table of who reaches whom: "*" is every service, "." none.
func reach(open probe) string {
	pods := podPlaces()
	sources := append(podPlaces(), worldPlace(), nodePlace())
	targets := append(podPlaces(), worldPlace(), nodePlace())
	var out strings.Builder
	line := func(cells ...string) {
		var text strings.Builder
		for _, c := range cells {
			fmt.Fprintf(&text, "%-8s", c)
		}
		fmt.Fprintln(&out, strings.TrimSpace(text.String()))
	}
	head := []string{"from"}
	for _, to := range targets {
		head = append(head, to.name)
	}
	line(head...)
	for i, from := range sources {
		cells := []string{from.name}
		for j, to := range targets {
			if i >= len(pods) && j >= len(pods) {
				cells = append(cells, "") // not a pod's matter
				continue
			}
			var passed []string
			for _, s := range services() {
				if open(from, to, s) {
					passed = append(passed, s.String())
				}
			}
			switch len(passed) {
			case 0:
				cells = append(cells, ".")
			case len(services()):
				cells = append(cells, "*")
			default:
				cells = append(cells, strings.Join(passed, ","))
			}
		}
		line(cells...)
	}
	return out.String()
}
