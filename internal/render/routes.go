package render

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// route is a host as a route of the Gateway API. The Gateway's listeners have the certificates, and it is theirs to keep
// others out.
func (w workload) route(s site, name, gateway string) runtime.Object {
	if len(s.SourceRanges) > 0 {
		w.problem("source_ranges: a route of the Gateway API has no word for it", "leave it out, and let the Gateway's own policies keep others out", append(s.path, "source_ranges")...)
	}
	common := gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{parent(gateway)}}
	backend := gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{
		Name: gatewayv1.ObjectName(s.backend), Port: new(s.port.port),
	}}
	meta := w.builder.meta(name, s.of)
	for key, value := range s.Annotations {
		putAnnotation(&meta, key, value)
	}
	hostnames := []gatewayv1.Hostname{gatewayv1.Hostname(s.host)}
	if s.Protocol == "grpc" {
		r := &gatewayv1.GRPCRoute{ObjectMeta: meta, Spec: gatewayv1.GRPCRouteSpec{
			CommonRouteSpec: common, Hostnames: hostnames,
			Rules: []gatewayv1.GRPCRouteRule{{BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: backend}}}},
		}}
		r.APIVersion, r.Kind = gatewayv1.GroupVersion.String(), "GRPCRoute"
		return r
	}
	prefix, path := gatewayv1.PathMatchPathPrefix, s.prefix()
	r := &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: common, Hostnames: hostnames,
		Rules: []gatewayv1.HTTPRouteRule{{
			Matches:     []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &prefix, Value: &path}}},
			BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: backend}},
		}},
	}}
	r.APIVersion, r.Kind = gatewayv1.GroupVersion.String(), "HTTPRoute"
	return r
}

// parent reads NAMESPACE/NAME or NAMESPACE/NAME/LISTENER.
func parent(gateway string) gatewayv1.ParentReference {
	parts := strings.SplitN(gateway, "/", 3)
	p := gatewayv1.ParentReference{Namespace: new(gatewayv1.Namespace(parts[0])), Name: gatewayv1.ObjectName(parts[1])}
	if len(parts) == 3 {
		p.SectionName = new(gatewayv1.SectionName(parts[2]))
	}
	return p
}
