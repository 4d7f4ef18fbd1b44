package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Platforms are those of the nodes that pods can be put on, as linux/arm64, sorted. There are none when the account may not
// list nodes.
func (c *Client) Platforms(ctx context.Context) ([]string, error) {
	nodes, err := c.Interface.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.Explain(err)
	}
	var all []string
	for _, n := range nodes.Items {
		if !n.Spec.Unschedulable && n.Labels[corev1.LabelOSStable] != "windows" {
			all = append(all, n.Status.NodeInfo.OperatingSystem+"/"+n.Status.NodeInfo.Architecture)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
