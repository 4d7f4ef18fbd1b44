package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/perch-k8s/perch/internal/kube"
)

// autoscaled is web with an autoscaler that owns its number of pods.
func autoscaled(t *testing.T, namespace, image string, least int32) Wanted {
	t.Helper()
	w := shop(t, namespace, image, "web:1")
	web := deployment("web", image, 1, "web-env-1")
	web.Spec.Replicas = nil
	owner := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MinReplicas:    &least, MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ResourceMetricSourceType,
				Resource: &autoscalingv2.ResourceMetricSource{
					Name:   corev1.ResourceCPU,
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
				},
			}},
		},
	}
	replaceObjects(t, &w, "web", web, owner)
	return w
}

// replaceObjects gives a service other objects.
func replaceObjects(t *testing.T, w *Wanted, service string, objects ...runtime.Object) {
	t.Helper()
	u := &w.Units[index(w, service)]
	fresh := unit(t, service, objects...)
	u.Chart, u.Objects = fresh.Chart, fresh.Objects
}

func webPods(t *testing.T, c *kube.Client, namespace string) int32 {
	t.Helper()
	d, err := c.Interface.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *d.Spec.Replicas
}

// byLoad changes the number of pods as the autoscaler's controller does.
func byLoad(t *testing.T, c *kube.Client, namespace string, n int32) {
	t.Helper()
	s := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: n}}
	_, err := c.Interface.AppsV1().Deployments(namespace).UpdateScale(t.Context(), "web", s, metav1.UpdateOptions{FieldManager: "kube-controller-manager"})
	if err != nil {
		t.Fatal(err)
	}
}

// fewest watches a Deployment and tells the smallest number of pods that it was ever to have.
func fewest(t *testing.T, c *kube.Client, namespace string) func() int32 {
	t.Helper()
	w, err := c.Interface.AppsV1().Deployments(namespace).Watch(t.Context(), metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", "web").String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() int32 {
		defer w.Stop()
		least := int32(1 << 20)
		last := fmt.Sprint(time.Now().UnixNano()) // the watch has seen all when it sees this
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"test/last":%q}}}`, last)
		if _, err := c.Interface.AppsV1().Deployments(namespace).Patch(t.Context(), "web", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		for e := range w.ResultChan() {
			d, ok := e.Object.(*appsv1.Deployment)
			if !ok || e.Type == watch.Deleted {
				continue
			}
			least = min(least, *d.Spec.Replicas)
			if d.Annotations["test/last"] == last {
				return least
			}
		}
		t.Fatal("the watch ended")
		return 0
	}
}

// TestAutoscalerOwnsTheNumber: a deploy never sets the number of pods that an autoscaler owns, not even for a moment, also when
// the number was the file's before, and when a rollback brings that back and forth.
func TestAutoscalerOwnsTheNumber(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "autoscaled"
	controllers(t, c, ns)
	step := func(what string, w Wanted, want int32) {
		t.Helper()
		before, least := want, func() int32 { return want }
		if d, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{}); err == nil {
			before, least = *d.Spec.Replicas, fewest(t, c, ns)
		}
		if _, _, err := deploy(t, c, w); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := webPods(t, c, ns); got != want {
			t.Errorf("%s: %d pods, want %d", what, got, want)
		}
		if got := least(); got < min(before, want) {
			t.Errorf("%s: there were %d pods for a moment, of %d before and %d after", what, got, before, want)
		}
	}
	fixed := shop(t, ns, "web:1", "web:1")
	replaceObjects(t, &fixed, "web", deployment("web", "web:1", 4, "web-env-1"))
	step("the file's number", fixed, 4)
	step("from then on by load", autoscaled(t, ns, "web:1", 2), 4)
	byLoad(t, c, ns, 6)
	step("another image", autoscaled(t, ns, "web:2", 2), 6)
	step("more at least than there are", autoscaled(t, ns, "web:2", 7), 7)
	if _, _, err := rollBack(t, c, ns, 1, ExecuteOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if got := webPods(t, c, ns); got != 4 {
		t.Errorf("rolled back to the file's number: %d pods", got)
	}
	least := fewest(t, c, ns)
	if _, _, err := rollBack(t, c, ns, 3, ExecuteOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if got := least(); got != 4 {
		t.Errorf("rolled back to the autoscaler: there were %d pods for a moment", got)
	}
}

// TestAutoscalerBegins: the first deploy begins with as many pods as the autoscaler has at least.
func TestAutoscalerBegins(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "autoscaled-first"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, autoscaled(t, ns, "web:1", 3)); err != nil {
		t.Fatal(err)
	}
	if got := webPods(t, c, ns); got != 3 {
		t.Errorf("%d pods, want 3", got)
	}
	p, _, err := deploy(t, c, autoscaled(t, ns, "web:1", 3))
	if err != nil || p.Changes() {
		t.Errorf("the second deploy has the plan\n%s%v", p, err)
	}
}

// TestAnyObjectIsMissed: an object of any of the kinds that render makes is made again when it is gone, without new pods.
func TestAnyObjectIsMissed(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "missed"
	controllers(t, c, ns)
	w := autoscaled(t, ns, "web:1", 1)
	if _, _, err := deploy(t, c, w); err != nil {
		t.Fatal(err)
	}
	err := c.Interface.AutoscalingV2().HorizontalPodAutoscalers(ns).Delete(t.Context(), "web", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := deploy(t, c, w)
	if err != nil || !strings.Contains(p.String(), "horizontalpodautoscaler web is gone") {
		t.Errorf("the plan is\n%s%v", p, err)
	}
	if _, err := c.Interface.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	after, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.Generation != before.Generation {
		t.Errorf("its pods were made anew for it")
	}
	if p, _, err := deploy(t, c, w); err != nil || p.Changes() {
		t.Errorf("the next plan is\n%s%v", p, err)
	}
}
