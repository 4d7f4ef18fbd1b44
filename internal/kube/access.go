package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// May tells whether this account may do something: a SelfSubjectAccessReview, which every account may ask for.
func (c *Client) May(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	answer, err := c.Interface.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, c.Explain(fmt.Errorf("may it %s %s: %w", what.Verb, what.Resource, err))
	}
	return answer.Status.Allowed, nil
}

// MayChange tells whether this account may do something to a namespace: patch it or delete it.
func (c *Client) MayChange(ctx context.Context, verb, namespace string) (bool, error) {
	return c.May(ctx, authorizationv1.ResourceAttributes{Verb: verb, Resource: "namespaces", Name: namespace, Namespace: namespace})
}

// APIs are the kinds that the API server has. unsure are the groups whose own server did not answer, as "GROUP/VERSION". What
// is found is kept for whoever applies objects next.
func (c *Client) APIs() (kinds map[schema.GroupVersionKind]bool, unsure []string, err error) {
	_, lists, err := c.Discovery.ServerGroupsAndResources()
	failed, partly := errors.AsType[*discovery.ErrGroupDiscoveryFailed](err)
	if err != nil && !partly {
		return nil, nil, c.Explain(fmt.Errorf("which kinds there are: %w", err))
	}
	if partly {
		for gv := range failed.Groups {
			unsure = append(unsure, gv.String())
		}
		slices.Sort(unsure)
	}
	kinds = map[schema.GroupVersionKind]bool{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			kinds[gv.WithKind(r.Kind)] = true
		}
	}
	return kinds, unsure, nil
}

// KindOf is the kind of an object: its own word, or the scheme's when it says nothing.
func KindOf(o runtime.Object) (schema.GroupVersionKind, error) { return kindOf(o) }

// PodTemplateOf is the pod that a workload makes, nil for other objects.
func PodTemplateOf(o runtime.Object) *corev1.PodTemplateSpec { return podTemplateOf(o) }

// Enforced is the level of Pod Security that a namespace enforces, and the version whose rules it takes; "" for none.
func Enforced(n *corev1.Namespace) (level, version string) {
	return n.Labels[api.EnforceLevelLabel], n.Labels[api.EnforceVersionLabel]
}

// RefusedAt says why the pods of a workload may not be made at a level of Pod Security, by the rules of the admission itself;
// "" when they may, or when the object makes none. version "" is the latest.
func RefusedAt(level, version string, o runtime.Object) (string, error) {
	template := podTemplateOf(o)
	if template == nil || level == "" {
		return "", nil
	}
	at, err := api.ParseLevel(level)
	if err != nil {
		return "", err
	}
	of := api.LatestVersion()
	if version != "" {
		if of, err = api.ParseVersion(version); err != nil {
			return "", err
		}
	}
	rules, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return "", err
	}
	result := policy.AggregateCheckResults(rules.EvaluatePod(api.LevelVersion{Level: at, Version: of}, &template.ObjectMeta, &template.Spec))
	if result.Allowed {
		return "", nil
	}
	return result.ForbiddenDetail(), nil
}

// Forbidden tells whether an error says that the account may not do what it asked for.
func Forbidden(err error) bool { return apierrors.IsForbidden(err) }
