package fit

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// gatewayOf is where a Gateway is: NAMESPACE/NAME, or NAME in the project's own.
func gatewayOf(name, namespace string) place {
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, rest
	}
	return place{schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}, namespace, name}
}

// issuerOf is where an issuer of cert-manager is: NAMESPACE/NAME, or NAME of one for the whole cluster.
func issuerOf(name string) place {
	resource := schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "clusterissuers"}
	namespace, rest, ok := strings.Cut(name, "/")
	if !ok {
		return place{resource, "", name}
	}
	resource.Resource = "issuers"
	return place{resource, namespace, rest}
}

// judgeDoors looks for what lets requests in: ingress classes, a Gateway, an issuer of certificates, load balancers.
func judgeDoors(n Needs, s Seen) Findings {
	all := Findings{}
	for _, c := range n.classes {
		if f, ok := s.ingressFor(c); ok {
			all = append(all, f)
		}
	}
	if s.gateway == isAbsent && n.gateway != "" {
		all = append(all, Finding{
			Level: Missing, What: "gateway " + n.gateway, Why: "routes go through it, and it is not there", Hint: "see which there are: perch kubectl get gateways -A",
		})
	}
	if s.issuer == isAbsent && n.issuer != "" {
		all = append(all, Finding{
			Level: Missing, What: "issuer " + n.issuer, Why: "certificates are to come from it, and it is not there",
			Hint: "see which there are: perch kubectl get clusterissuers,issuers",
		})
	}
	return append(all, judgeBalancers(n, s)...)
}

func (s Seen) ingressFor(c use) (Finding, bool) {
	name := c.name
	if name == "" {
		name = "(default)"
	}
	if s.ingress == nil {
		return Finding{Level: Unknown, What: "ingress class " + name, Why: "this account may not list ingress classes; " + c.by + " needs it"}, true
	}
	var names []string
	fallback := false
	for _, class := range s.ingress {
		names = append(names, class.Name)
		fallback = fallback || class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
	}
	slices.Sort(names)
	there, hint := "there is none", "have an ingress controller installed by who runs the cluster, or expose the service in another way: x-perch.expose"
	if len(names) > 0 {
		there, hint = "there are "+strings.Join(names, ", "), "name one of them: ingress_class of the target, under x-perch.targets"
	}
	if c.name == "" {
		return Finding{Level: Missing, What: "a default ingress class", Why: fmt.Sprintf("%s names none; %s, and none is the default", c.by, there), Hint: hint}, !fallback
	}
	return Finding{Level: Missing, What: "ingress class " + c.name, Why: fmt.Sprintf("%s asks for it; %s", c.by, there), Hint: hint}, !slices.Contains(names, c.name)
}

// judgeBalancers tells what is seen of Services of type LoadBalancer: no API says whether somebody gives them addresses.
func judgeBalancers(n Needs, s Seen) Findings {
	if len(n.balanced) == 0 || s.balancers.given || s.cloud() {
		return nil
	}
	f := Finding{
		Level: Unknown, What: "load balancer", Why: n.balanced[0] + " asks for one, and nothing shows that Services of this type get an address here",
		Hint: "expose the service in another way: x-perch.expose",
	}
	if s.balancers.waiting {
		f.Level, f.Why = Risky, n.balanced[0]+" asks for one, and others that do have no address"
	}
	return Findings{f}
}

// cloud tells whether the nodes are of a cloud whose controller makes load balancers.
func (s Seen) cloud() bool {
	for _, node := range s.nodes {
		switch scheme, _, _ := strings.Cut(node.Spec.ProviderID, "://"); scheme {
		case "aws", "azure", "gce", "digitalocean", "openstack", "hcloud", "linode", "vultr", "scaleway", "oci", "ibm", "exoscale", "ovhcloud", "vsphere":
			return true
		}
	}
	return false
}
