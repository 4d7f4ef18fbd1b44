package release

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// RemoveOptions say what Remove takes away.
type RemoveOptions struct {
	Volumes  bool          // the data too
	Timeout  time.Duration // of the whole, without the wait for the lock; 0 is 5 minutes
	Holder   Holder        // who takes the deploy lock; empty is this process
	LockWait time.Duration // how long another holder of it is waited for; 0: not at all
}

// Remove uninstalls the project's releases, each before those it depends on, waits until their pods are gone, and
// removes config and Jobs. Volumes are kept, and reported as kept, unless they are asked for. The namespace goes too
// when Perch created it and nothing is left in it. Removing what is not there is no error.
func Remove(ctx context.Context, c *kube.Client, project, namespace string, o RemoveOptions, r progress.Reporter) error {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	found, err := Observe(ctx, c, project, namespace)
	if err != nil || !found.Exists {
		return err
	}
	l, held, err := acquire(ctx, c, namespace, locking{holder: o.Holder, wait: o.LockWait, report: r})
	if errors.Is(err, errNoNamespace) { // who was waited for has removed all
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	held, stop := context.WithTimeout(held, o.Timeout)
	defer stop()
	rm := &remover{client: l.through, namespace: namespace, report: r}
	err = rm.remove(held, project, o)
	l.release(ctx) // before the namespace goes, which holds the lock
	rm.client = c
	if err != nil {
		return c.Explain(err)
	}
	return rm.removeNamespace(ctx, found.Ours)
}

type remover struct {
	client    *kube.Client
	namespace string
	report    progress.Reporter
	helm      *helm
}

func (rm *remover) remove(ctx context.Context, project string, o RemoveOptions) error {
	found, err := Observe(ctx, rm.client, project, rm.namespace)
	if err != nil {
		return err
	}
	if rm.helm, err = newHelm(rm.client, rm.namespace, 0); err != nil {
		return err
	}
	if err := rm.uninstall(ctx, found); err != nil {
		return err
	}
	refs := make([]Ref, 0, len(found.Config)+len(found.Jobs))
	for ref := range found.Config {
		refs = append(refs, ref)
	}
	var jobs []kube.WorkloadRef
	for name, j := range found.Jobs {
		if j.Labels[kube.ProjectLabel] == rm.namespace {
			jobs = append(jobs, kube.WorkloadRef{Kind: "Job", Name: name})
			refs = append(refs, Ref{"Job", name})
		}
	}
	if err := rm.client.Delete(ctx, objectsOf(rm.namespace, refs)); err != nil {
		return err
	}
	// Pods of Jobs that were deleted end in the background.
	if err := rm.client.WaitWorkloadsGone(ctx, rm.namespace, jobs); err != nil {
		return timedOut(ctx, "pods of jobs are still there", err)
	}
	if err := rm.removeShared(ctx); err != nil {
		return err
	}
	return rm.volumes(ctx, found, o.Volumes)
}

// uninstall removes the releases, each as soon as those that depend on it are gone.
func (rm *remover) uninstall(ctx context.Context, found Observed) error {
	dependents := map[string][]string{}
	gone := map[string]chan struct{}{}
	for _, in := range found.Releases {
		gone[in.Service] = make(chan struct{})
		for _, d := range in.DependsOn {
			dependents[d] = append(dependents[d], in.Service)
		}
	}
	cyclic := cyclic(found.Releases)
	var running sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, in := range found.Releases {
		running.Go(func() {
			defer close(gone[in.Service])
			for _, d := range dependents[in.Service] {
				if ch := gone[d]; ch != nil && !cyclic {
					<-ch
				}
			}
			if err := rm.uninstallOne(ctx, in); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// cyclic tells whether installed releases say that they depend on each other in a circle, as those of different
// versions of a Compose file may.
func cyclic(releases map[string]Installed) bool {
	units := make([]Unit, 0, len(releases))
	for _, in := range releases {
		u := Unit{Service: in.Service}
		for _, d := range in.DependsOn {
			u.DependsOn = append(u.DependsOn, Dependency{Service: d})
		}
		units = append(units, u)
	}
	_, err := inOrder(units)
	return err != nil
}

func (rm *remover) uninstallOne(ctx context.Context, in Installed) error {
	id := "service " + in.Service
	if err := context.Cause(ctx); err != nil {
		return err
	}
	rm.report.Report(progress.Event{ID: id, Status: progress.Working, Text: "stopping"})
	err := rm.helm.uninstall(ctx, in.Name, in.Foreign != "")
	if err == nil {
		err = rm.client.WaitWorkloadsGone(ctx, rm.namespace, documentsOf(in.Manifest))
		err = timedOut(ctx, fmt.Sprintf("service %s: its pods are still there", in.Service), err)
	}
	if err != nil {
		rm.report.Report(progress.Event{ID: id, Status: progress.Failed, Text: err.Error()})
		return fmt.Errorf("service %s: %w", in.Service, err)
	}
	rm.report.Report(progress.Event{ID: id, Status: progress.Done, Text: "removed"})
	return nil
}

// timedOut says what was waited for when the time was over.
func timedOut(ctx context.Context, what string, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.Other, "see them: perch ps; allow more time with --timeout", "%s: %w", what, err)
	}
	return err
}

// volumes removes the project's volumes, or says that they are kept.
func (rm *remover) volumes(ctx context.Context, found Observed, wanted bool) error {
	claims, err := rm.client.Interface.CoreV1().PersistentVolumeClaims(rm.namespace).List(ctx, ours(rm.namespace, "volume"))
	if err != nil {
		return err
	}
	for _, claim := range claims.Items {
		id := "volume " + claim.Name
		if !wanted {
			rm.report.Report(progress.Event{ID: id, Status: progress.Same, Text: "kept"})
			continue
		}
		if err := rm.client.DeleteAndWait(ctx, &claim); err != nil {
			return timedOut(ctx, id+": still in use", err)
		}
		rm.report.Report(progress.Event{ID: id, Status: progress.Done, Text: "removed"})
	}
	return nil
}

// removeNamespace removes the namespace when it is ours and empty, and waits until it is gone.
func (rm *remover) removeNamespace(ctx context.Context, ours bool) error {
	id := "namespace " + rm.namespace
	if !ours {
		return nil
	}
	if may, err := rm.client.MayChange(ctx, "delete", rm.namespace); err != nil || !may {
		rm.report.Report(progress.Event{ID: id, Status: progress.Same, Text: "kept: this account may not remove it"})
		return err
	}
	left, err := rm.client.Leftovers(ctx, rm.namespace)
	if err != nil {
		return rm.client.Explain(err)
	}
	if len(left) > 0 {
		rm.report.Report(progress.Event{ID: id, Status: progress.Same, Text: "kept: it still holds " + some(left)})
		return nil
	}
	rm.report.Report(progress.Event{ID: id, Status: progress.Working, Text: "removing"})
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: rm.namespace}}
	if err := rm.client.DeleteAndWait(ctx, ns); err != nil {
		return timedOut(ctx, id+": still being removed", rm.client.Explain(err))
	}
	rm.report.Report(progress.Event{ID: id, Status: progress.Done, Text: "removed"})
	return nil
}

// some names up to three things.
func some(names []string) string {
	sort.Strings(names)
	if len(names) > 3 {
		return fmt.Sprintf("%s, %s, %s and %d more", names[0], names[1], names[2], len(names)-3)
	}
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}

// documentsOf is the workloads that a manifest names.
func documentsOf(manifest string) []kube.WorkloadRef {
	var refs []kube.WorkloadRef
	for ref := range documents(manifest) {
		if isWorkload(ref.Kind) {
			refs = append(refs, kube.WorkloadRef{Kind: ref.Kind, Name: ref.Name})
		}
	}
	return refs
}

// objectsOf is empty objects to delete by.
func objectsOf(namespace string, refs []Ref) []runtime.Object {
	objects := make([]runtime.Object, 0, len(refs))
	for _, ref := range refs {
		meta := metav1.ObjectMeta{Name: ref.Name, Namespace: namespace}
		switch ref.Kind {
		case "ConfigMap":
			objects = append(objects, &corev1.ConfigMap{ObjectMeta: meta})
		case "Secret":
			objects = append(objects, &corev1.Secret{ObjectMeta: meta})
		case "Job":
			objects = append(objects, &batchv1.Job{ObjectMeta: meta})
		case "Service":
			objects = append(objects, &corev1.Service{ObjectMeta: meta})
		case "StatefulSet":
			objects = append(objects, &appsv1.StatefulSet{ObjectMeta: meta})
		}
	}
	return objects
}

// List is the Helm releases of a namespace, "" for all, sorted by namespace and name.
func List(ctx context.Context, c *kube.Client, namespace string) ([]Release, error) {
	revisions, err := revisions(ctx, c, namespace)
	if err != nil {
		return nil, c.Explain(err)
	}
	found := installed(revisions, "")
	releases := make([]Release, 0, len(found))
	for _, in := range found {
		releases = append(releases, Release{
			Name: in.Name, Namespace: in.namespace, Project: in.Project, Service: in.Service, Revision: in.Revision,
			Deploy: in.Deploy, Status: in.Status, AppVersion: in.app, Updated: in.Updated,
			Serves: in.Deployed > 0, Once: in.Once,
		})
	}
	sort.Slice(releases, func(i, j int) bool {
		if releases[i].Namespace != releases[j].Namespace {
			return releases[i].Namespace < releases[j].Namespace
		}
		return releases[i].Name < releases[j].Name
	})
	return releases, nil
}
