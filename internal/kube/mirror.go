package kube

import (
	"context"
	"sort"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// retryAfter is how long a mirror waits before it tries again when the API server does not answer. It bounds the load
// on a server that is coming back, and what a restart of the server costs us.
const retryAfter = 250 * time.Millisecond

// source says how one set of objects is listed and watched.
type source[T any] struct {
	list     func(context.Context, metav1.ListOptions) (items []T, resourceVersion string, err error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
	labels   string // label selector
	fields   string // field selector
	optional bool   // an account that may not look sees none of them, and goes without
	identify func(*T) metav1.Object
}

// mirror holds the current state of a source, kept by list and watch. changed is called after each change, from the
// goroutine of run.
//
// It stands in for an informer, which learns that it is in sync by asking itself every 100 ms and hides the errors of
// the server; here both are told at once.
type mirror[T any] struct {
	source  source[T]
	changed func()

	mu     sync.Mutex
	items  map[types.UID]*T
	synced bool
}

func newMirror[T any](s source[T], changed func()) *mirror[T] {
	return &mirror[T]{source: s, changed: changed, items: map[types.UID]*T{}}
}

// run keeps the mirror until ctx is done, which is no error. It gives up on errors that will not go away by trying
// again, as a missing permission.
func (m *mirror[T]) run(ctx context.Context) error {
	for {
		err := m.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if m.source.optional && apierrors.IsForbidden(err) {
			m.replace(nil)
			<-ctx.Done()
			return nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return err
		}
		if err == nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			continue // the watch ran its time, or the server forgot where we were: list anew
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

// follow lists once and then takes changes until the watch ends.
func (m *mirror[T]) follow(ctx context.Context) error {
	o := metav1.ListOptions{LabelSelector: m.source.labels, FieldSelector: m.source.fields}
	items, version, err := m.source.list(ctx, o)
	if err != nil {
		return err
	}
	m.replace(items)
	o.ResourceVersion, o.AllowWatchBookmarks = version, true
	w, err := m.source.watch(ctx, o)
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return apierrors.FromObject(e.Object)
		}
		m.take(e)
	}
	return nil
}

func (m *mirror[T]) replace(items []T) {
	m.mu.Lock()
	m.items = make(map[types.UID]*T, len(items))
	for i := range items {
		m.items[m.source.identify(&items[i]).GetUID()] = &items[i]
	}
	m.synced = true
	m.mu.Unlock()
	m.changed()
}

func (m *mirror[T]) take(e watch.Event) {
	item, ok := e.Object.(any).(*T)
	if !ok || e.Type == watch.Bookmark {
		return
	}
	m.mu.Lock()
	uid := m.source.identify(item).GetUID()
	if e.Type == watch.Deleted {
		delete(m.items, uid)
	} else {
		m.items[uid] = item
	}
	m.mu.Unlock()
	m.changed()
}

// snapshot is the objects now, sorted by name, and whether a first list has come. The objects must not be changed.
func (m *mirror[T]) snapshot() (items []*T, synced bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	items = make([]*T, 0, len(m.items))
	for _, item := range m.items {
		items = append(items, item)
	}
	sort.Slice(items, func(i, j int) bool {
		return m.source.identify(items[i]).GetName() < m.source.identify(items[j]).GetName()
	})
	return items, m.synced
}

// waitGone waits until no object with the UID is in the source.
func waitGone[T any](ctx context.Context, s source[T], uid types.UID) error {
	return waitUntil(ctx, s, func(items []*T) bool {
		for _, item := range items {
			if s.identify(item).GetUID() == uid {
				return false
			}
		}
		return true
	})
}

// waitUntil waits until ok holds for the objects of the source.
func waitUntil[T any](ctx context.Context, s source[T], ok func([]*T) bool) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var m *mirror[T]
	reached := false
	m = newMirror(s, func() {
		if items, synced := m.snapshot(); synced && ok(items) {
			reached = true
			cancel()
		}
	})
	if err := m.run(inner); err != nil {
		return err
	}
	if !reached {
		return context.Cause(ctx)
	}
	return nil
}

// named is the field selector for one object.
func named(name string) string { return "metadata.name=" + name }

// A lister is the part of a typed client that lists and watches.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// sourceOf makes a source from a typed client. items takes the list apart.
func sourceOf[T any, L interface {
	runtime.Object
	metav1.ListInterface
}](c lister[L], items func(L) []T, identify func(*T) metav1.Object) source[T] {
	return source[T]{
		list: func(ctx context.Context, o metav1.ListOptions) ([]T, string, error) {
			l, err := c.List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return items(l), l.GetResourceVersion(), nil
		},
		watch:    c.Watch,
		identify: identify,
	}
}

func podSource(c coreclient.PodInterface, labels string) source[corev1.Pod] {
	s := sourceOf(c, func(l *corev1.PodList) []corev1.Pod { return l.Items }, func(o *corev1.Pod) metav1.Object { return o })
	s.labels = labels
	return s
}

func eventSource(c coreclient.EventInterface) source[corev1.Event] {
	s := sourceOf(c, func(l *corev1.EventList) []corev1.Event { return l.Items }, func(o *corev1.Event) metav1.Object { return o })
	s.fields, s.optional = "type="+corev1.EventTypeWarning, true // they tell why, and are not what is waited for
	return s
}

func namespaceSource(c coreclient.NamespaceInterface, name string) source[corev1.Namespace] {
	s := sourceOf(c, func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items },
		func(o *corev1.Namespace) metav1.Object { return o })
	s.fields = named(name)
	return s
}

func jobSource(c batchclient.JobInterface, name string) source[batchv1.Job] {
	s := sourceOf(c, func(l *batchv1.JobList) []batchv1.Job { return l.Items }, func(o *batchv1.Job) metav1.Object { return o })
	s.fields = named(name)
	return s
}

func deploymentSource(c appsclient.DeploymentInterface, name string) source[appsv1.Deployment] {
	s := sourceOf(c, func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items },
		func(o *appsv1.Deployment) metav1.Object { return o })
	s.fields = named(name)
	return s
}

func replicaSetSource(c appsclient.ReplicaSetInterface, labels string) source[appsv1.ReplicaSet] {
	s := sourceOf(c, func(l *appsv1.ReplicaSetList) []appsv1.ReplicaSet { return l.Items },
		func(o *appsv1.ReplicaSet) metav1.Object { return o })
	s.labels = labels
	return s
}

func statefulSetSource(c appsclient.StatefulSetInterface, name string) source[appsv1.StatefulSet] {
	s := sourceOf(c, func(l *appsv1.StatefulSetList) []appsv1.StatefulSet { return l.Items },
		func(o *appsv1.StatefulSet) metav1.Object { return o })
	s.fields = named(name)
	return s
}

func daemonSetSource(c appsclient.DaemonSetInterface, name string) source[appsv1.DaemonSet] {
	s := sourceOf(c, func(l *appsv1.DaemonSetList) []appsv1.DaemonSet { return l.Items },
		func(o *appsv1.DaemonSet) metav1.Object { return o })
	s.fields = named(name)
	return s
}
