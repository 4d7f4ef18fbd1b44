package kube

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HoldReplicas makes Perch an owner of the number of pods that live Deployments and StatefulSets have, so that it stays when
// another owner no longer names it. Those that are not there are passed over. Whoever sets another number owns it from then on.
func (c *Client) HoldReplicas(ctx context.Context, namespace string, workloads []WorkloadRef) error {
	for _, ref := range workloads {
		now, there, err := c.replicasOf(ctx, namespace, ref)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		data := fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":%q,"metadata":{"name":%q,"namespace":%q},"spec":{"replicas":%d}}`,
			ref.Kind, ref.Name, namespace, now)
		// A conflict says that somebody set another number meanwhile, and so owns it.
		if err := c.patchReplicas(ctx, namespace, ref, types.ApplyPatchType, data); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
		}
	}
	return nil
}

// RaiseReplicas gives a live Deployment or StatefulSet at least that many pods. More are left as they are.
func (c *Client) RaiseReplicas(ctx context.Context, namespace string, ref WorkloadRef, least int32) error {
	now, there, err := c.replicasOf(ctx, namespace, ref)
	if err != nil || !there || now >= least {
		return err
	}
	if err := c.patchReplicas(ctx, namespace, ref, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, least)); err != nil {
		return fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
	}
	return nil
}

// patchReplicas patches the workload itself: who may deploy it may do that, and perhaps not scale it.
func (c *Client) patchReplicas(ctx context.Context, namespace string, ref WorkloadRef, kind types.PatchType, data []byte) (err error) {
	options := metav1.PatchOptions{FieldManager: FieldManager}
	switch ref.Kind {
	case "Deployment":
		_, err = c.Interface.AppsV1().Deployments(namespace).Patch(ctx, ref.Name, kind, data, options)
	case "StatefulSet":
		_, err = c.Interface.AppsV1().StatefulSets(namespace).Patch(ctx, ref.Name, kind, data, options)
	}
	return err
}

// replicasOf is how many pods a workload is to have.
func (c *Client) replicasOf(ctx context.Context, namespace string, ref WorkloadRef) (n int32, there bool, err error) {
	switch ref.Kind {
	case "Deployment":
		var d *appsv1.Deployment
		if d, err = c.Interface.AppsV1().Deployments(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			return replicas(d.Spec.Replicas), true, nil
		}
	case "StatefulSet":
		var s *appsv1.StatefulSet
		if s, err = c.Interface.AppsV1().StatefulSets(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			return replicas(s.Spec.Replicas), true, nil
		}
	}
	if apierrors.IsNotFound(err) {
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
}

// Autoscaler is who owns the number of a workload's pods.
type Autoscaler struct {
	Workload WorkloadRef
	Min, Max int32
}

// Autoscalers are those of a namespace. One who may not see them sees none.
func (c *Client) Autoscalers(ctx context.Context, namespace string) ([]Autoscaler, error) {
	list, err := c.Interface.AutoscalingV2().HorizontalPodAutoscalers(orElse(namespace, c.Namespace)).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.Explain(fmt.Errorf("autoscalers in namespace %s: %w", namespace, err))
	}
	var all []Autoscaler
	for i := range list.Items {
		h := list.Items[i].Spec
		all = append(all, Autoscaler{
			Workload: WorkloadRef{Kind: h.ScaleTargetRef.Kind, Name: h.ScaleTargetRef.Name}, Min: replicas(h.MinReplicas), Max: h.MaxReplicas,
		})
	}
	return all, nil
}
