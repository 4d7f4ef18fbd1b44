package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPortsOf(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app.kubernetes.io/name": "web"}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{ServiceAnnotation: "web"}},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{
			{Port: 8080, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")},
			{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(5353)},
		}},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "127.0.0.1"}}}},
	}
	pods := []corev1.Pod{
		{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "other", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 1}}}}}},
		{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "web", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}},
			{Name: "dns", Ports: []corev1.ContainerPort{{ContainerPort: 5353}, {ContainerPort: 5353, Protocol: corev1.ProtocolUDP}}},
		}}},
	}
	want := []PublishedPort{
		{Service: "web", Container: "web", Private: 80, Protocol: "tcp", Host: "127.0.0.1", Published: 8080},
		{Service: "web", Container: "dns", Private: 5353, Protocol: "udp", Host: "127.0.0.1", Published: 53},
	}
	if diff := cmp.Diff(want, portsOf(service, pods)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want[0].Container, want[0].Private, want[1].Container = "", 0, ""
	if diff := cmp.Diff(want, portsOf(service, pods[:1])); diff != "" {
		t.Errorf("without a pod: -want +got:\n%s", diff)
	}
}

func TestGiven(t *testing.T) {
	t.Parallel()
	of := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{"app.kubernetes.io/name": "web"}}}
	pod.Spec.Containers = []corev1.Container{
		{Resources: corev1.ResourceRequirements{Requests: of("250m", "64Mi"), Limits: of("1", "128Mi")}},
		{Resources: corev1.ResourceRequirements{Requests: of("250m", "64Mi"), Limits: of("500m", "128Mi")}},
	}
	want := Usage{Service: "web", Pod: "web-1", CPURequest: 0.5, CPULimit: 1.5, MemoryRequest: 128 << 20, MemoryLimit: 256 << 20}
	if diff := cmp.Diff(want, given(pod)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{}
	want = Usage{Service: "web", Pod: "web-1", CPURequest: 0.25, MemoryRequest: 64 << 20} // a container without a limit: the pod has none
	if diff := cmp.Diff(want, given(pod)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReadMetrics(t *testing.T) {
	t.Parallel()
	got, err := readMetrics([]byte(`{"kind":"PodMetricsList","items":[{"metadata":{"name":"web-1","namespace":"shop"},
		"containers":[{"name":"web","usage":{"cpu":"1500000n","memory":"10Mi"}},{"name":"side","usage":{"cpu":"500u","memory":"6Mi"}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]podUsage{"shop/web-1": {cpu: 0.002, memory: 16 << 20}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(podUsage{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
