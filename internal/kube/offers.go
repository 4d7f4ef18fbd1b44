package kube

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// API groups that clusters may have, and whose objects do what core Kubernetes leaves to others.
const (
	gatewayGroup    = "gateway.networking.k8s.io"
	monitoringGroup = "monitoring.coreos.com"
)

// Offers is what a cluster has beside core Kubernetes.
type Offers struct {
	GatewayAPI        bool
	ServiceMonitors   bool   // Prometheus' operator
	IngressController string // that serves the class, as its spec.controller has it; "": none, or the account may not know
}

// Offers asks the cluster. ingressClass "" is its default one.
func (c *Client) Offers(ctx context.Context, ingressClass string) (Offers, error) {
	var o Offers
	groups, err := c.Discovery.ServerGroups()
	if err != nil {
		return o, c.Explain(err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == name })
	}
	o.GatewayAPI, o.ServiceMonitors = has(gatewayGroup), has(monitoringGroup)
	classes, err := c.Interface.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return o, nil
	}
	if err != nil {
		return o, c.Explain(err)
	}
	for _, class := range classes.Items {
		isDefault := class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		if class.Name == ingressClass || ingressClass == "" && isDefault {
			o.IngressController = class.Spec.Controller
		}
	}
	return o, nil
}
