package kube

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// WorkloadRef names a workload in a namespace.
type WorkloadRef struct{ Kind, Name string }

// DeleteAndWait deletes the object, in the background for what it owns, and waits until it is gone itself. What is
// gone already is no error.
func (c *Client) DeleteAndWait(ctx context.Context, o runtime.Object) error {
	u, resource, err := c.open(o)
	if err != nil {
		return err
	}
	live, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if err := c.Delete(ctx, []runtime.Object{o}); err != nil {
		return err
	}
	s := sourceOf(resource, func(l *unstructured.UnstructuredList) []unstructured.Unstructured { return l.Items },
		func(o *unstructured.Unstructured) metav1.Object { return o })
	s.fields = named(u.GetName())
	if err := waitGone(ctx, s, live.GetUID()); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// WaitWorkloadsGone waits until no pod is left that belongs to one of the workloads, which are being deleted.
func (c *Client) WaitWorkloadsGone(ctx context.Context, namespace string, workloads []WorkloadRef) error {
	if len(workloads) == 0 {
		return nil
	}
	s := podSource(c.Interface.CoreV1().Pods(namespace), "")
	return waitUntil(ctx, s, func(pods []*corev1.Pod) bool {
		for _, p := range pods {
			if ownedByOne(p, workloads) {
				return false
			}
		}
		return true
	})
}

// ownedByOne tells whether the pod's controller is one of the workloads, or a ReplicaSet of one.
func ownedByOne(p *corev1.Pod, workloads []WorkloadRef) bool {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return false
	}
	kind, name := owner.Kind, owner.Name
	if hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; kind == "ReplicaSet" && hash != "" {
		kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
	}
	for _, w := range workloads {
		if w.Kind == kind && w.Name == name {
			return true
		}
	}
	return false
}

// Leftovers names what users can have put into a namespace, as "configmap settings", without what Kubernetes itself
// puts into each.
func (c *Client) Leftovers(ctx context.Context, namespace string) ([]string, error) {
	kinds := []schema.GroupVersionResource{
		{Version: "v1", Resource: "pods"},
		{Version: "v1", Resource: "services"},
		{Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "secrets"},
		{Version: "v1", Resource: "persistentvolumeclaims"},
		{Version: "v1", Resource: "serviceaccounts"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Group: "apps", Version: "v1", Resource: "daemonsets"},
		{Group: "batch", Version: "v1", Resource: "jobs"},
		{Group: "batch", Version: "v1", Resource: "cronjobs"},
		{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	}
	found := make([][]string, len(kinds))
	g, ctx := errgroup.WithContext(ctx)
	for i, kind := range kinds {
		g.Go(func() error {
			list, err := c.Dynamic.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("%s in namespace %s: %w", kind.Resource, namespace, err)
			}
			for _, o := range list.Items {
				if !standard(&o) {
					found[i] = append(found[i], strings.ToLower(o.GetKind())+" "+o.GetName())
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []string
	for _, names := range found {
		all = append(all, names...)
	}
	return all, nil
}

// standard tells what is in every namespace, or goes away by itself.
func standard(o *unstructured.Unstructured) bool {
	if o.GetDeletionTimestamp() != nil || metav1.GetControllerOf(o) != nil {
		return true
	}
	switch o.GetKind() {
	case "ConfigMap":
		return o.GetName() == "kube-root-ca.crt"
	case "ServiceAccount":
		return o.GetName() == "default"
	case "Secret":
		kind, _, _ := unstructured.NestedString(o.Object, "type")
		return kind == string(corev1.SecretTypeServiceAccountToken)
	}
	return false
}

// ClearBroken deletes the pods of the workloads that cannot start: their image is not there, their config is missing
// or they crash. They are made anew at once, without the back-off that a failed attempt has built up; and a
// StatefulSet, which waits for a broken pod for ever, can go on (kubernetes/kubernetes#67250).
func (c *Client) ClearBroken(ctx context.Context, objs []runtime.Object) error {
	for _, o := range objs {
		selector := podsOf(o)
		meta, ok := o.(metav1.Object)
		if _, isJob := o.(*batchv1.Job); isJob || selector == nil || !ok { // a Job counts its own failures
			continue
		}
		namespace := orElse(meta.GetNamespace(), c.Namespace)
		if err := c.clearPods(ctx, namespace, metav1.FormatLabelSelector(selector)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) clearPods(ctx context.Context, namespace, selector string) error {
	pods := c.Interface.CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("pods in namespace %s: %w", namespace, err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp != nil || podReady(p) || !broken(p) {
			continue
		}
		err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("pod %s: %w", p.Name, err)
		}
	}
	return nil
}

func broken(p *corev1.Pod) bool {
	for _, cs := range containers(p) {
		if _, bad := containerTrouble(p, cs); bad {
			return true
		}
	}
	return false
}
