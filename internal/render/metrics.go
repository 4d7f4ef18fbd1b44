package render

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// labelMetrics is on the one Service of several that Prometheus reads a service's pods by: each would be read once for every
// Service that has them.
const labelMetrics = "perch.dev/metrics"

// metricsPort is where the metrics are.
func (w workload) metricsPort() (containerPort, bool) {
	p := w.extension.Prometheus
	if p == nil {
		return containerPort{}, false
	}
	if port, ok := w.hostPort(compose.Host{Port: p.Port}); ok {
		return port, true
	}
	path := "services." + w.service.Name
	if w.image.Config == nil {
		w.note(runs{path: path}, "x-perch.prometheus", "Prometheus is not told of it yet: the port that the image listens on is not known")
		return containerPort{}, false
	}
	w.problem("which port has the metrics is not clear", "write it, as in prometheus: {port: 9090}", "services", w.service.Name, "x-perch", "prometheus")
	return containerPort{}, false
}

func (w workload) metricsPath() string {
	if p := w.extension.Prometheus.Path; p != "" {
		return p
	}
	return "/metrics"
}

// measured tells Prometheus of the pods: by annotations, which its usual configuration reads, or by a ServiceMonitor where the
// cluster has those.
func (w workload) measured(pods *metav1.ObjectMeta, services []runtime.Object) []runtime.Object {
	port, ok := w.metricsPort()
	if !ok {
		return nil
	}
	if !w.target.ServiceMonitors {
		putAnnotation(pods, "prometheus.io/scrape", "true")
		putAnnotation(pods, "prometheus.io/port", strconv.Itoa(int(port.port)))
		putAnnotation(pods, "prometheus.io/path", w.metricsPath())
		return nil
	}
	for _, o := range services {
		if s, ok := o.(*corev1.Service); ok && s.Name == w.name {
			s.Labels[labelMetrics] = "true"
		}
	}
	return []runtime.Object{w.serviceMonitor(port)}
}

func (w workload) serviceMonitor(port containerPort) *unstructured.Unstructured {
	endpoint := map[string]any{"port": port.name, "path": w.metricsPath()}
	if interval := w.extension.Prometheus.Interval; interval != "" {
		endpoint["interval"] = strconv.FormatInt(seconds(duration(interval, 0)), 10) + "s"
	}
	matches := map[string]any{labelMetrics: "true"}
	for key, value := range w.selector(w.name) {
		matches[key] = value
	}
	m := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"selector":  map[string]any{"matchLabels": matches},
		"endpoints": []any{endpoint},
	}}}
	meta := w.builder.meta(w.name, w.service.Name)
	m.SetAPIVersion("monitoring.coreos.com/v1")
	m.SetKind("ServiceMonitor")
	m.SetName(meta.Name)
	m.SetNamespace(meta.Namespace)
	m.SetLabels(meta.Labels)
	m.SetAnnotations(meta.Annotations)
	return m
}
