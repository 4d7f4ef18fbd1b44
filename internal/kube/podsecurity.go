package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/perch-k8s/perch/internal/fault"
)

// SecurityAnnotation of a namespace says which level of Pod Security Perch enforces there, and why it is not baseline. Where
// the label has another level, somebody else has set it, and Perch leaves it alone.
const SecurityAnnotation = "perch.dev/pod-security"

// Security is a level of the Pod Security Standards that a namespace enforces.
type Security struct {
	Privileged bool   // else baseline
	Because    string // what asks for privileged, for people: "services.web.volumes"
}

// Level is the value of the namespace's label.
func (s Security) Level() string {
	if s.Privileged {
		return string(api.LevelPrivileged)
	}
	return string(api.LevelBaseline)
}

// String is the level and why.
func (s Security) String() string {
	if s.Privileged && s.Because != "" {
		return s.Level() + " for " + s.Because
	}
	return s.Level()
}

// SecurityOf is the strictest of the two levels at which all pods of the objects may be made, by the rules of the admission
// itself.
func SecurityOf(objects []runtime.Object) (Security, error) {
	rules, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return Security{}, err
	}
	var reasons []string
	for _, o := range objects {
		template := podTemplateOf(o)
		if template == nil {
			continue
		}
		baseline := api.LevelVersion{Level: api.LevelBaseline, Version: api.LatestVersion()}
		result := policy.AggregateCheckResults(rules.EvaluatePod(baseline, &template.ObjectMeta, &template.Spec))
		if reason := result.ForbiddenReason(); !result.Allowed && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	return Security{Privileged: len(reasons) > 0, Because: strings.Join(reasons, ", ")}, nil
}

// podTemplateOf is the pod that a workload makes, or is; nil for other objects.
func podTemplateOf(o runtime.Object) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *corev1.Pod:
		return &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// ProjectNamespace is the namespace of a project as Perch makes it.
func ProjectNamespace(name string, s Security) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{ProjectLabel: name, "app.kubernetes.io/managed-by": "perch", api.EnforceLevelLabel: s.Level()},
			Annotations: map[string]string{SecurityAnnotation: s.String()},
		},
	}
}

// OwnSecurity is what a namespace enforces, when that is Perch's to change: it made the namespace, and nobody else has set
// another level. set is false where nothing is enforced yet.
func OwnSecurity(n *corev1.Namespace) (s Security, set, own bool) {
	level := n.Labels[api.EnforceLevelLabel]
	noted, because, _ := strings.Cut(n.Annotations[SecurityAnnotation], " for ")
	own = n.Labels[ProjectLabel] != "" && level == noted && (level == "" || level == string(api.LevelBaseline) || level == string(api.LevelPrivileged))
	return Security{Privileged: level == string(api.LevelPrivileged), Because: because}, level != "", own
}

// SetSecurity makes a namespace enforce a level.
func (c *Client) SetSecurity(ctx context.Context, namespace string, s Security) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels":      map[string]string{api.EnforceLevelLabel: s.Level()},
		"annotations": map[string]string{SecurityAnnotation: s.String()},
	}})
	if err != nil {
		return err
	}
	_, err = c.Interface.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if apierrors.IsForbidden(err) {
		return fault.New(fault.Other, "have it set by who may: kubectl label --overwrite namespace "+namespace+" "+api.EnforceLevelLabel+"="+s.Level(),
			"namespace %s: Pod Security has to be %s: %w", namespace, s, err)
	}
	if err != nil {
		return c.Explain(fmt.Errorf("namespace %s: Pod Security: %w", namespace, err))
	}
	return nil
}
