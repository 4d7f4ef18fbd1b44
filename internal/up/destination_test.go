package up

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestDestinations(t *testing.T) {
	t.Parallel()
	with := []runtime.Object{settings("web-env-0123456789", "A", "B"), web(3, "web-env-0123456789", 80), service()}
	without := []runtime.Object{settings("web-env-abcdefabcd", "A"), web(1, "web-env-abcdefabcd")}
	got, err := destinations(with, without)
	if err != nil {
		t.Fatal(err)
	}
	want := []Destination{
		{"ConfigMap web-env", "data.B", false},
		{"Deployment web", "spec.replicas", false},
		{"Deployment web", "spec.template.spec.containers[web].ports", false},
		{"Service web", "", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = destinations(without, with)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Absent = want[i].Field != "spec.replicas"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("what a key keeps away", diff)
	}
	if same, _ := destinations(with, with); len(same) > 0 {
		t.Errorf("the same objects differ in %v", same)
	}
}

func settings(name string, keys ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{}}
	for _, key := range keys {
		m.Data[key] = "value"
	}
	return m
}

func web(replicas int32, config string, ports ...int32) *appsv1.Deployment {
	c := corev1.Container{Name: "web", EnvFrom: []corev1.EnvFromSource{{
		ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: config}},
	}}}
	for _, port := range ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: port})
	}
	d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	d.Spec.Replicas = new(replicas)
	d.Spec.Template.Spec.Containers = []corev1.Container{c}
	return d
}

func service() *corev1.Service {
	return &corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "web"}}
}
