package kube

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOffers(t *testing.T) {
	c, ctx := connect(t, "offers"), limited(t)
	for name, isDefault := range map[string]string{"outer": "true", "inner": "false"} {
		class := &networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
			Spec:       networkingv1.IngressClassSpec{Controller: "example.com/" + name},
		}
		if _, err := c.Interface.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for class, want := range map[string]string{"": "example.com/outer", "inner": "example.com/inner", "none": ""} {
		got, err := c.Offers(ctx, class)
		if err != nil || got != (Offers{IngressController: want}) {
			t.Errorf("class %q: %+v %v, want the controller %q", class, got, err, want)
		}
	}
}
