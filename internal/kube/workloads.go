package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// Workload is a live Deployment, StatefulSet, DaemonSet or Job.
type Workload struct {
	Service string // its name in the Compose file; "" when it is not Perch's
	Object  runtime.Object
}

// Kind is the kind of the object in lower case.
func (w Workload) Kind() string {
	switch w.Object.(type) {
	case *appsv1.Deployment:
		return "deployment"
	case *appsv1.StatefulSet:
		return "statefulset"
	case *appsv1.DaemonSet:
		return "daemonset"
	}
	return "job"
}

// podsOf selects the pods of a Deployment, StatefulSet, DaemonSet or Job; nil for any other object.
func podsOf(o runtime.Object) *metav1.LabelSelector {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Selector
	case *appsv1.StatefulSet:
		return o.Spec.Selector
	case *appsv1.DaemonSet:
		return o.Spec.Selector
	case *batchv1.Job:
		return metav1.SetAsLabelSelector(map[string]string{batchv1.JobNameLabel: o.Name})
	}
	return nil
}

// Name is the name of the object.
func (w Workload) Name() string {
	if meta, ok := w.Object.(metav1.Object); ok {
		return meta.GetName()
	}
	return ""
}

// Workloads are those of a namespace ("" is the client's) that match a label selector: Deployments, StatefulSets,
// DaemonSets, then Jobs, each sorted by name. Jobs of CronJobs are not among them.
func (c *Client) Workloads(ctx context.Context, namespace, selector string) ([]Workload, error) {
	namespace = orElse(namespace, c.Namespace)
	options := metav1.ListOptions{LabelSelector: selector}
	var deployments, sets, daemons, jobs []Workload
	apps := c.Interface.AppsV1()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		list, err := apps.Deployments(namespace).List(ctx, options)
		if err == nil {
			deployments = workloadsOf(list.Items, func(o *appsv1.Deployment) runtime.Object { return o })
		}
		return err
	})
	g.Go(func() error {
		list, err := apps.StatefulSets(namespace).List(ctx, options)
		if err == nil {
			sets = workloadsOf(list.Items, func(o *appsv1.StatefulSet) runtime.Object { return o })
		}
		return err
	})
	g.Go(func() error {
		list, err := apps.DaemonSets(namespace).List(ctx, options)
		if err == nil {
			daemons = workloadsOf(list.Items, func(o *appsv1.DaemonSet) runtime.Object { return o })
		}
		return err
	})
	g.Go(func() error {
		list, err := c.Interface.BatchV1().Jobs(namespace).List(ctx, options)
		if err == nil {
			jobs = workloadsOf(list.Items, func(o *batchv1.Job) runtime.Object { return o })
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, c.Explain(fmt.Errorf("workloads in namespace %s: %w", namespace, err))
	}
	return append(append(append(deployments, sets...), daemons...), jobs...), nil
}

// workloadsOf wraps the items of a list, which the API server sorts by name.
func workloadsOf[T any](items []T, object func(*T) runtime.Object) []Workload {
	var all []Workload
	for i := range items {
		o := object(&items[i])
		meta, ok := o.(metav1.Object)
		if !ok || metav1.GetControllerOf(meta) != nil {
			continue
		}
		all = append(all, Workload{Service: meta.GetAnnotations()[ServiceAnnotation], Object: o})
	}
	return all
}

// RestartAndWait gives the workloads new pods as their update strategy has it, side by side, and waits until all are
// ready. Each is reported as "service NAME". Those that fail do so as in WaitReady.
func (c *Client) RestartAndWait(ctx context.Context, workloads []Workload, now time.Time, r progress.Reporter) error {
	return c.each(ctx, workloads, r, "restarting", func(ctx context.Context, w Workload, id string) (string, error) {
		if err := c.Restart(ctx, []runtime.Object{w.Object}, now); err != nil {
			return "", c.Explain(err)
		}
		return "restarted", c.WaitReady(ctx, []runtime.Object{w.Object}, r, id)
	})
}

// ScaleAndWait gives the workloads that many pods, by service, and waits until they are there. A workload that has no
// number of pods of its own is refused before any is changed.
func (c *Client) ScaleAndWait(ctx context.Context, workloads []Workload, to map[string]int, r progress.Reporter) error {
	for _, w := range workloads {
		switch w.Object.(type) {
		case *appsv1.Deployment, *appsv1.StatefulSet:
		default:
			return fault.New(fault.Usage, "", "service %q is a %s: it has no number of replicas", w.Service, w.Kind())
		}
	}
	return c.each(ctx, workloads, r, "scaling", func(ctx context.Context, w Workload, id string) (string, error) {
		n := to[w.Service]
		if err := c.scale(ctx, w, n); err != nil {
			return "", c.Explain(fmt.Errorf("service %s: %w", w.Service, err))
		}
		return fmt.Sprintf("scaled to %d", n), c.WaitReady(ctx, []runtime.Object{w.Object}, r, id)
	})
}

func (c *Client) scale(ctx context.Context, w Workload, n int) error {
	data := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n)
	options := metav1.PatchOptions{FieldManager: FieldManager}
	var err error
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		_, err = c.Interface.AppsV1().Deployments(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, data, options, "scale")
	case *appsv1.StatefulSet:
		_, err = c.Interface.AppsV1().StatefulSets(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, data, options, "scale")
	}
	return err
}

// each does something to the workloads side by side and reports how it went. What do answers is told when all went well.
func (c *Client) each(
	ctx context.Context, workloads []Workload, r progress.Reporter, begin string,
	do func(ctx context.Context, w Workload, id string) (string, error),
) error {
	errs := make([]error, len(workloads))
	var all sync.WaitGroup
	for i, w := range workloads {
		id := "service " + orElse(w.Service, w.Name())
		r.Report(progress.Event{ID: id, Status: progress.Working, Text: begin})
		all.Go(func() {
			text, err := do(ctx, w, id)
			if err != nil {
				r.Report(progress.Event{ID: id, Status: progress.Failed, Text: Reason(err)})
				errs[i] = err
				return
			}
			r.Report(progress.Event{ID: id, Status: progress.Done, Text: text})
		})
	}
	all.Wait()
	return joinSome(errs)
}

// joinSome is the errors as one; a single one as it is.
func joinSome(errs []error) error {
	var all []error
	for _, err := range errs {
		if err != nil {
			all = append(all, err)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}
