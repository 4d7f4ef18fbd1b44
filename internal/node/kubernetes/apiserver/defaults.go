package apiserver

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// Defaults writes the objects that every cluster begins with, as a component: the default RBAC roles, their bindings,
// and the priority classes. They and their reconciliation are Kubernetes' own. kube-apiserver's two hooks that write
// them are off (see Server.Run): they sleep for a second first and then write one object after the other, and the
// server does not call itself ready before.
type Defaults struct {
	Files pki.Files

	client clientset.Interface
	done   chan struct{}
	last   atomic.Pointer[error] // why the last try failed
}

// Name is "default-roles".
func (*Defaults) Name() string { return "default-roles" }

// Init makes the client.
func (d *Defaults) Init(context.Context) error {
	d.done = make(chan struct{})
	config, err := clientcmd.BuildConfigFromFlags("", d.Files.Kubeconfig(pki.Admin))
	if err != nil {
		return err
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.QPS = -1
	d.client, err = clientset.NewForConfig(config)
	return err
}

// Run writes what is missing, mends what lacks a right, and waits for ctx.
func (d *Defaults) Run(ctx context.Context) error {
	for {
		err := d.write(ctx)
		if err == nil {
			break
		}
		if lasting(err) {
			return err
		}
		d.last.Store(&err)
		select { // the first namespaces are about to be made, or the machine is slow: the start's limit ends that
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
	close(d.done)
	<-ctx.Done()
	return nil
}

// lasting tells whether an error would be the same the next time. A timeout, of the server or of the store, is not.
func lasting(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// Ready waits until everything is written.
func (d *Defaults) Ready(ctx context.Context) error {
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		if last := d.last.Load(); last != nil {
			return fmt.Errorf("default roles: %w", *last)
		}
		return fmt.Errorf("default roles: %w", ctx.Err())
	}
}

func (d *Defaults) write(ctx context.Context) error {
	const atOnce = 8
	var roles, bindings errgroup.Group
	roles.SetLimit(atOnce)
	bindings.SetLimit(atOnce)
	err := errors.Join(d.clusterRoles(ctx, &roles), d.namespacedRoles(&roles))
	if err = errors.Join(err, roles.Wait()); err != nil {
		return err
	}
	// Bindings refer to roles, so they come second.
	err = errors.Join(d.clusterRoleBindings(ctx, &bindings), d.namespacedRoleBindings(&bindings))
	bindings.Go(func() error { return d.priorityClasses(ctx) })
	return errors.Join(err, bindings.Wait())
}

func (d *Defaults) clusterRoles(ctx context.Context, g *errgroup.Group) error {
	client := d.client.RbacV1().ClusterRoles()
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	have := map[string]*rbacv1.ClusterRole{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		switch h := have[want.Name]; {
		case h == nil:
			g.Go(func() error {
				_, err := client.Create(ctx, &want, metav1.CreateOptions{})
				return unlessExists(err)
			})
		case want.AggregationRule == nil && apiequality.Semantic.DeepEqual(h.Rules, want.Rules):
		default:
			g.Go(func() error {
				return reconcileRole(reconciliation.ClusterRoleRuleOwner{ClusterRole: &want}, reconciliation.ClusterRoleModifier{Client: client})
			})
		}
	}
	return nil
}

func (d *Defaults) clusterRoleBindings(ctx context.Context, g *errgroup.Group) error {
	client := d.client.RbacV1().ClusterRoleBindings()
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	have := map[string]*rbacv1.ClusterRoleBinding{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		switch h := have[want.Name]; {
		case h == nil:
			g.Go(func() error {
				_, err := client.Create(ctx, &want, metav1.CreateOptions{})
				return unlessExists(err)
			})
		case h.RoleRef == want.RoleRef && apiequality.Semantic.DeepEqual(h.Subjects, want.Subjects):
		default:
			g.Go(func() error {
				return reconcileBinding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &want},
					reconciliation.ClusterRoleBindingClientAdapter{Client: client})
			})
		}
	}
	return nil
}

func (d *Defaults) namespacedRoles(g *errgroup.Group) error {
	client := reconciliation.RoleModifier{Client: d.client.RbacV1(), NamespaceClient: d.client.CoreV1().Namespaces()}
	for _, roles := range bootstrappolicy.NamespaceRoles() {
		for _, want := range roles {
			g.Go(func() error { return reconcileRole(reconciliation.RoleRuleOwner{Role: &want}, client) })
		}
	}
	return nil
}

func (d *Defaults) namespacedRoleBindings(g *errgroup.Group) error {
	client := reconciliation.RoleBindingClientAdapter{Client: d.client.RbacV1(), NamespaceClient: d.client.CoreV1().Namespaces()}
	for _, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, want := range bindings {
			g.Go(func() error {
				return reconcileBinding(reconciliation.RoleBindingAdapter{RoleBinding: &want}, client)
			})
		}
	}
	return nil
}

func (d *Defaults) priorityClasses(ctx context.Context) error {
	for _, class := range schedulingv1.SystemPriorityClasses() {
		_, err := d.client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{})
		if unlessExists(err) != nil {
			return fmt.Errorf("priority class %s: %w", class.Name, err)
		}
	}
	return nil
}

func reconcileRole(role reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) error {
	o := reconciliation.ReconcileRoleOptions{Role: role, Client: client, Confirm: true}
	if _, err := o.Run(); err != nil {
		return fmt.Errorf("role %s: %w", role.GetName(), err)
	}
	return nil
}

func reconcileBinding(binding reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) error {
	o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: client, Confirm: true}
	if _, err := o.Run(); err != nil {
		return fmt.Errorf("role binding %s: %w", binding.GetName(), err)
	}
	return nil
}

func unlessExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
