package render

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// replicas is how many pods there are at least.
func (w workload) replicas() int32 {
	n := int32(max(min(w.service.GetScale(), 1<<20), 0)) //nolint:gosec // bounded
	if a := w.extension.Autoscale; a != nil {
		return a.Least(w.service.GetScale())
	}
	return n
}

// most is how many pods there may be.
func (w workload) most() int32 {
	if a := w.extension.Autoscale; a != nil {
		return max(a.Max, w.replicas())
	}
	return w.replicas()
}

// fixedReplicas is the number of pods that the workload itself says: none where an autoscaler owns it, which each deploy would
// else set back. Package release begins with as many as the autoscaler has at least.
func (w workload) fixedReplicas() *int32 {
	if w.extension.Autoscale != nil {
		return nil
	}
	return new(w.replicas())
}

// autoscaler has the number of pods follow their load.
func (w workload) autoscaler(kind string) *autoscalingv2.HorizontalPodAutoscaler {
	a := w.extension.Autoscale
	h := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: w.builder.meta(w.name, w.service.Name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: kind, Name: w.name},
			MinReplicas:    new(w.replicas()),
			MaxReplicas:    w.most(),
		},
	}
	if a.CPU > 0 {
		h.Spec.Metrics = append(h.Spec.Metrics, w.utilization(corev1.ResourceCPU, a.CPU))
	}
	if a.Memory > 0 {
		h.Spec.Metrics = append(h.Spec.Metrics, w.utilization(corev1.ResourceMemory, a.Memory))
	}
	for _, m := range a.Metrics {
		h.Spec.Metrics = append(h.Spec.Metrics, customMetric(m))
	}
	if a.ScaleDown != "" {
		window := int32(seconds(duration(a.ScaleDown, 0))) //nolint:gosec // at most an hour
		h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window},
		}
	}
	return h
}

// utilization is a part of what is reserved. Where others run in the pod, only the service's own container counts: they may
// reserve nothing, and then the pod's sum is of no use.
func (w workload) utilization(name corev1.ResourceName, percent int32) autoscalingv2.MetricSpec {
	target := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}
	if len(w.sidecars) > 0 {
		return autoscalingv2.MetricSpec{
			Type:              autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: name, Container: w.name, Target: target},
		}
	}
	return autoscalingv2.MetricSpec{
		Type:     autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{Name: name, Target: target},
	}
}

// customMetric is a number of a metrics adapter. Package compose has checked it.
func customMetric(m compose.Metric) autoscalingv2.MetricSpec {
	value, err := resource.ParseQuantity(m.Target)
	if err != nil {
		value = resource.MustParse("1")
	}
	id := autoscalingv2.MetricIdentifier{Name: m.Name}
	if len(m.Selector) > 0 {
		id.Selector = &metav1.LabelSelector{MatchLabels: m.Selector}
	}
	average := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &value}
	switch m.Type {
	case "external":
		return autoscalingv2.MetricSpec{
			Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: id, Target: average},
		}
	case "object":
		of := autoscalingv2.CrossVersionObjectReference{APIVersion: m.Object.APIVersion, Kind: m.Object.Kind, Name: m.Object.Name}
		return autoscalingv2.MetricSpec{
			Type: autoscalingv2.ObjectMetricSourceType,
			Object: &autoscalingv2.ObjectMetricSource{
				DescribedObject: of, Metric: id, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: &value},
			},
		}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: id, Target: average}}
}
