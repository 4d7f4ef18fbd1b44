package kube

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HoldReplicas makes Perch an owner of the number of pods that live Deployments and StatefulSets have, so that it stays when
// another owner no longer names it. Those that are not there are passed over. Whoever sets another number owns it from then on.
func (c *Client) HoldReplicas(ctx context.Context, namespace string, workloads []WorkloadRef) error {
	for _, ref := range workloads {
		now, err := c.scaleOf(ctx, namespace, ref)
		if err != nil {
			return err
		}
		if now == nil {
			continue
		}
		data, err := json.Marshal(map[string]any{
			"apiVersion": "apps/v1", "kind": ref.Kind,
			"metadata": map[string]any{"name": ref.Name, "namespace": namespace},
			"spec":     map[string]any{"replicas": now.Spec.Replicas},
		})
		if err != nil {
			return err
		}
		options := metav1.PatchOptions{FieldManager: FieldManager}
		switch ref.Kind {
		case "Deployment":
			_, err = c.Interface.AppsV1().Deployments(namespace).Patch(ctx, ref.Name, types.ApplyPatchType, data, options)
		case "StatefulSet":
			_, err = c.Interface.AppsV1().StatefulSets(namespace).Patch(ctx, ref.Name, types.ApplyPatchType, data, options)
		}
		// A conflict says that somebody set another number meanwhile, and so owns it.
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
		}
	}
	return nil
}

// RaiseReplicas gives a live Deployment or StatefulSet at least that many pods. More are left as they are.
func (c *Client) RaiseReplicas(ctx context.Context, namespace string, ref WorkloadRef, least int32) error {
	now, err := c.scaleOf(ctx, namespace, ref)
	if err != nil || now == nil || now.Spec.Replicas >= least {
		return err
	}
	meta := metav1.ObjectMeta{Name: ref.Name, Namespace: namespace}
	w := Workload{Object: &appsv1.Deployment{ObjectMeta: meta}}
	if ref.Kind == "StatefulSet" {
		w.Object = &appsv1.StatefulSet{ObjectMeta: meta}
	}
	if err := c.scale(ctx, w, int(least)); err != nil {
		return fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
	}
	return nil
}

// scaleOf is how many pods a workload is to have, nil when it is not there.
func (c *Client) scaleOf(ctx context.Context, namespace string, ref WorkloadRef) (s *autoscalingv1.Scale, err error) {
	switch ref.Kind {
	case "Deployment":
		s, err = c.Interface.AppsV1().Deployments(namespace).GetScale(ctx, ref.Name, metav1.GetOptions{})
	case "StatefulSet":
		s, err = c.Interface.AppsV1().StatefulSets(namespace).GetScale(ctx, ref.Name, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
	}
	return s, nil
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
