package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// node is the user's running cluster, seen through its API.
type node struct {
	*user
	api    kubernetes.Interface
	config *rest.Config // of the administrator
}

// context is the cluster's name in the kubeconfig.
func (u *user) context() string { return "perch-" + u.cluster }

// connect reads the user's kubeconfig, as any other program would.
func (u *user) connect(t *testing.T) *node {
	t.Helper()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: u.kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: u.context()},
	).ClientConfig()
	if err != nil {
		t.Fatalf("kubeconfig: %v", err)
	}
	if u.in != nil {
		config.Dial = u.in.Dial
	}
	config.QPS, config.Burst, config.Timeout = -1, -1, 20*time.Second
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &node{user: u, api: api, config: config}
}

// folder is where the cluster keeps its files.
func (u *user) folder() string { return filepath.Join(u.state, u.cluster) }

// load puts base images into the cluster's store, which is how one works where no registry is.
func (u *user) load(t *testing.T, images ...string) {
	t.Helper()
	for _, archive := range archives(t, u.root, images...) {
		u.perch(t, "", "image", "load", archive)
	}
}

// pods are the pods of one service that are not on their way out, sorted by name.
func (n *node) pods(ctx context.Context, namespace, service string) ([]corev1.Pod, error) {
	list, err := n.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + service})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	sort.Slice(pods, func(i, j int) bool { return pods[i].Name < pods[j].Name })
	return pods, nil
}

// ready wants that many ready pods of a service, and returns their names.
func (n *node) ready(t *testing.T, namespace, service string, count int) []string {
	t.Helper()
	pods, err := n.pods(t.Context(), namespace, service)
	if err != nil {
		t.Fatal(err)
	}
	var names, others []string
	for _, p := range pods {
		if podReady(p) {
			names = append(names, p.Name)
		} else {
			others = append(others, fmt.Sprintf("%s (%s)", p.Name, p.Status.Phase))
		}
	}
	if len(names) != count || len(others) > 0 {
		t.Fatalf("service %s in %s: ready are %v, want %d; not ready are %v", service, namespace, names, count, others)
	}
	return names
}

func podReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (n *node) deployment(t *testing.T, namespace, name string) *appsv1.Deployment {
	t.Helper()
	d, err := n.api.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shape is what must not change when nothing is to be changed: each object of a namespace that an upgrade could touch, as
// "kind/name uid generation". Pods count too: none may be rolled.
func (n *node) shape(t *testing.T, namespace string) []string {
	t.Helper()
	ctx := t.Context()
	var lines []string
	add := func(kind string, m metav1.ObjectMeta) {
		lines = append(lines, fmt.Sprintf("%s/%s %s generation %d", kind, m.Name, m.UID, m.Generation))
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	all := metav1.ListOptions{}
	deployments, err := n.api.AppsV1().Deployments(namespace).List(ctx, all)
	fail(err)
	for _, o := range deployments.Items {
		add("deployment", o.ObjectMeta)
	}
	sets, err := n.api.AppsV1().ReplicaSets(namespace).List(ctx, all)
	fail(err)
	for _, o := range sets.Items {
		add("replicaset", o.ObjectMeta)
	}
	stateful, err := n.api.AppsV1().StatefulSets(namespace).List(ctx, all)
	fail(err)
	for _, o := range stateful.Items {
		add("statefulset", o.ObjectMeta)
	}
	jobs, err := n.api.BatchV1().Jobs(namespace).List(ctx, all)
	fail(err)
	for _, o := range jobs.Items {
		add("job", o.ObjectMeta)
	}
	claims, err := n.api.CoreV1().PersistentVolumeClaims(namespace).List(ctx, all)
	fail(err)
	for _, o := range claims.Items {
		add("claim", o.ObjectMeta)
	}
	services, err := n.api.CoreV1().Services(namespace).List(ctx, all)
	fail(err)
	for _, o := range services.Items {
		add("service", o.ObjectMeta)
	}
	config, err := n.api.CoreV1().ConfigMaps(namespace).List(ctx, all)
	fail(err)
	for _, o := range config.Items {
		add("configmap", o.ObjectMeta)
	}
	secrets, err := n.api.CoreV1().Secrets(namespace).List(ctx, all) // Helm's revisions are among them
	fail(err)
	for _, o := range secrets.Items {
		add("secret", o.ObjectMeta)
	}
	slices.Sort(lines)
	return lines
}

// podIDs are the names, UIDs and restarts of a namespace's pods that are not on their way out.
func (n *node) podIDs(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := n.api.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil {
			continue
		}
		restarts := int32(0)
		for _, c := range p.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
		ids = append(ids, fmt.Sprintf("%s %s restarts %d", p.Name, p.UID, restarts))
	}
	slices.Sort(ids)
	return ids
}

// revisions are Helm's Secrets of a namespace: "sh.helm.release.v1.NAME.vN".
func (n *node) revisions(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := n.api.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list.Items {
		names = append(names, strings.TrimPrefix(s.Name, "sh.helm.release.v1."))
	}
	slices.Sort(names)
	return names
}

// namespaceExists also says yes as long as the namespace is on its way out.
func (n *node) namespaceExists(t *testing.T, name string) bool {
	t.Helper()
	list, err := n.api.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items) > 0
}
