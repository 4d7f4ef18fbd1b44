package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/perch-k8s/perch/internal/fault"
)

// parallelApplies bounds how many objects are on their way to the API server at once.
const parallelApplies = 8

// Apply sends the objects by server-side apply as field manager "perch", taking fields over from other managers.
// Objects without a namespace go to the client's. It returns the first error, which names the object.
func (c *Client) Apply(ctx context.Context, objs []runtime.Object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelApplies)
	for _, o := range objs {
		g.Go(func() error { return c.apply(ctx, o) })
	}
	return g.Wait()
}

func (c *Client) apply(ctx context.Context, o runtime.Object) error {
	u, resource, err := c.open(o)
	if err != nil {
		return err
	}
	data, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	force := true
	options := metav1.PatchOptions{FieldManager: FieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict}
	if _, err := resource.Patch(ctx, u.GetName(), types.ApplyPatchType, data, options); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// open is the object as the dynamic client takes it, and the client for its kind and namespace.
func (c *Client) open(o runtime.Object) (*unstructured.Unstructured, dynamic.ResourceInterface, error) {
	u, err := toUnstructured(o)
	if err != nil {
		return nil, nil, err
	}
	resource, err := c.resource(u)
	return u, resource, err
}

// resource is the dynamic client for the object's kind and namespace. The discovery cache is dropped once when it does
// not know the kind: it may have come since.
func (c *Client) resource(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := u.GroupVersionKind()
	mapping, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		meta.MaybeResetRESTMapper(c.Mapper)
		mapping, err = c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, c.Explain(err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(mapping.Resource), nil
	}
	namespace := u.GetNamespace()
	if namespace == "" {
		namespace = c.Namespace
	}
	return c.Dynamic.Resource(mapping.Resource).Namespace(namespace), nil
}

// toUnstructured gives the object with its apiVersion and kind, and without what only the server may write.
func toUnstructured(o runtime.Object) (*unstructured.Unstructured, error) {
	gvk, err := kindOf(o)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", gvk.Kind, err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "metadata", "managedFields")
	return u, nil
}

// kindOf is the object's kind: its own word, or the scheme's when it says nothing.
func kindOf(o runtime.Object) (schema.GroupVersionKind, error) {
	if gvk := o.GetObjectKind().GroupVersionKind(); gvk.Kind != "" {
		return gvk, nil
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("object of type %T: %w", o, err)
	}
	return kinds[0], nil
}

// Delete deletes the objects, in the background for what they own. What is gone already is no error.
func (c *Client) Delete(ctx context.Context, objs []runtime.Object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelApplies)
	for _, o := range objs {
		g.Go(func() error {
			u, err := toUnstructured(o)
			if err != nil {
				return err
			}
			resource, err := c.resource(u)
			if err != nil {
				return err
			}
			policy := metav1.DeletePropagationBackground
			err = resource.Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// EnsureNamespace creates the namespace when it is not there; one that is being deleted is waited for. One that is there is
// left as it is, but where Perch enforces a stricter level of Pod Security there than is wanted, more is let in. One that this
// account may not look at is taken to be there: its rights end at what is in it. changed says what was done, "" when nothing was.
func (c *Client) EnsureNamespace(ctx context.Context, want *corev1.Namespace) (changed string, err error) {
	namespaces, name := c.Interface.CoreV1().Namespaces(), want.Name
	for {
		found, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && found.DeletionTimestamp == nil:
			return c.admit(ctx, found, want)
		case err == nil:
			if err := waitGone(ctx, namespaceSource(namespaces, name), found.UID); err != nil {
				return "", fmt.Errorf("namespace %s is being deleted: %w", name, err)
			}
		case apierrors.IsForbidden(err):
			return "", nil
		case !apierrors.IsNotFound(err):
			return "", c.Explain(fmt.Errorf("namespace %s: %w", name, err))
		}
		_, err = namespaces.Create(ctx, want, metav1.CreateOptions{FieldManager: FieldManager})
		switch s, set, _ := OwnSecurity(want); {
		case err == nil && set && s.Privileged:
			return "created; Pod Security is " + s.String(), nil
		case err == nil:
			return "created", nil
		case apierrors.IsForbidden(err):
			return "", fault.New(fault.Other, "have it made by who may: kubectl create namespace "+name+"; or deploy into another one with -n",
				"namespace %s is not there, and this account may not make it: %w", name, err)
		case !apierrors.IsAlreadyExists(err):
			return "", err
		}
	}
}

// admit lets in what the wanted namespace would.
func (c *Client) admit(ctx context.Context, found, want *corev1.Namespace) (changed string, err error) {
	have, set, own := OwnSecurity(found)
	wanted, _, _ := OwnSecurity(want)
	if !own || !set || have.Privileged || !wanted.Privileged {
		return "", nil
	}
	return "Pod Security is " + wanted.String(), c.SetSecurity(ctx, found.Name, wanted)
}

// Restart rolls the workloads among objs as `kubectl rollout restart` does, by a time in an annotation of their pods.
// Objects that do not exist are passed over, as are Jobs.
func (c *Client) Restart(ctx context.Context, objs []runtime.Object, now time.Time) error {
	const patch = `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`
	data := fmt.Appendf(nil, patch, now.Format(time.RFC3339Nano))
	for _, o := range objs {
		switch o.(type) {
		case *appsv1.Deployment, *appsv1.StatefulSet, *appsv1.DaemonSet:
		default:
			continue
		}
		u, err := toUnstructured(o)
		if err != nil {
			return err
		}
		resource, err := c.resource(u)
		if err != nil {
			return err
		}
		_, err = resource.Patch(ctx, u.GetName(), types.MergePatchType, data, metav1.PatchOptions{FieldManager: FieldManager})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}
