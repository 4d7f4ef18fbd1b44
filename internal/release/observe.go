package release

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	helmrel "helm.sh/helm/v4/pkg/release"
	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/perch-k8s/perch/internal/kube"
)

// Ref names one object in the namespace.
type Ref struct{ Kind, Name string }

func (r Ref) String() string { return r.Kind + "/" + r.Name }

// refOf is the Ref of an object.
func refOf(o runtime.Object) (Ref, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kinds, _, err := scheme.Scheme.ObjectKinds(o)
		if err != nil {
			return Ref{}, fmt.Errorf("object of type %T: %w", o, err)
		}
		kind = kinds[0].Kind
	}
	meta, ok := o.(metav1.Object)
	if !ok {
		return Ref{}, fmt.Errorf("object of type %T has no name", o)
	}
	return Ref{kind, meta.GetName()}, nil
}

// Observed is a snapshot of a project in its namespace.
type Observed struct {
	Project   string
	Namespace string
	Exists    bool // the namespace is there and is not being deleted
	Ours      bool // the namespace was created by Perch

	Security      kube.Security // what the namespace enforces
	SecuritySet   bool          // it enforces anything
	SecurityIsOur bool          // and that is Perch's to change

	Releases  map[string]Installed         // the project's, by release name
	Volumes   map[string]resource.Quantity // size asked for by each PersistentVolumeClaim, by name
	Config    map[Ref]Config               // the project's config objects outside releases
	Jobs      map[string]*batchv1.Job      // all Jobs of the namespace, by name
	Workloads map[Ref]Workload             // live Deployments, StatefulSets, DaemonSets and Services (which are ready)
	Others    map[string]map[string]bool   // names of live objects by kind, of those kinds of others() that were looked for

	deploy int // the highest number of a deploy that a kept revision has
}

// Installed is one Helm release with all its kept revisions.
type Installed struct {
	Name      string
	Service   string
	Project   string
	Revision  int       // the last one
	Status    string    // of the last one, as Helm has it
	Digest    string    // chart digest of the last one
	Updated   time.Time // when the last one was deployed
	Deploy    int       // number of the deploy that made the last one, 0 when none of Perch did
	Deployed  int       // the last revision that was rolled out whole, 0 when there is none
	Manifest  string    // of the deployed revision, else of the last one
	DependsOn []string  // services, as the last revision says
	Once      string    // Unit.Once of the last revision

	Foreign string         // Unit.Foreign of the last revision
	Values  map[string]any // of the last revision, when it is foreign

	namespace string
	app       string
	kept      string // manifests and requirements of all kept revisions, to look names up in
}

// Config is what is known of a config object: its service and, to name what changed, its entries. The values of
// Secrets are compared but never told.
type Config struct {
	Service string
	Data    map[string]string
}

// Workload is the readiness of a live workload.
type Workload struct {
	Ready, Total int32
	Settled      bool // its controller has seen the last change
	Applied      bool // it is the project's, and applied without a release: what `perch config` printed
}

// String keeps values out of logs and failing tests.
func (c Config) String() string {
	return fmt.Sprintf("config of %s with %d entries", c.Service, len(c.Data))
}

// Observe takes the snapshot. All its requests are on their way at once; an error names the one that failed, of kind
// fault.Unreachable when no API server answers.
func Observe(ctx context.Context, c *kube.Client, project, namespace string) (Observed, error) {
	o := Observed{
		Project: project, Namespace: namespace,
		Releases: map[string]Installed{}, Volumes: map[string]resource.Quantity{}, Config: map[Ref]Config{},
		Jobs: map[string]*batchv1.Job{}, Workloads: map[Ref]Workload{}, Others: map[string]map[string]bool{},
	}
	var deployments, statefulSets, daemonSets, services map[Ref]Workload
	var configMaps, secretMaps map[Ref]Config
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.observeNamespace(ctx, c) })
	g.Go(func() error { return o.observeReleases(ctx, c) })
	g.Go(func() error { return o.observeVolumes(ctx, c) })
	g.Go(func() error { return o.observeJobs(ctx, c) })
	g.Go(func() (err error) { configMaps, err = listConfigMaps(ctx, c, namespace); return err })
	g.Go(func() (err error) { secretMaps, err = listSecrets(ctx, c, namespace); return err })
	g.Go(func() (err error) { deployments, err = listDeployments(ctx, c, namespace); return err })
	g.Go(func() (err error) { statefulSets, err = listStatefulSets(ctx, c, namespace); return err })
	g.Go(func() (err error) { daemonSets, err = listDaemonSets(ctx, c, namespace); return err })
	g.Go(func() (err error) { services, err = listServices(ctx, c, namespace); return err })
	if err := g.Wait(); err != nil {
		return Observed{}, c.Explain(fmt.Errorf("namespace %s: %w", namespace, err))
	}
	for _, m := range []map[Ref]Config{configMaps, secretMaps} {
		maps.Copy(o.Config, m)
	}
	for _, m := range []map[Ref]Workload{deployments, statefulSets, daemonSets, services} {
		maps.Copy(o.Workloads, m)
	}
	return o, nil
}

func (o *Observed) observeNamespace(ctx context.Context, c *kube.Client) error {
	ns, err := c.Interface.CoreV1().Namespaces().Get(ctx, o.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		o.Exists = true // an account that may work in it need not be one that may look at it
		return nil
	case err != nil:
		return err
	}
	o.Exists = ns.DeletionTimestamp == nil
	o.Ours = ns.Labels[kube.ProjectLabel] != ""
	o.Security, o.SecuritySet, o.SecurityIsOur = kube.OwnSecurity(ns)
	if o.SecurityIsOur && (!o.SecuritySet || o.Security.Privileged) { // it may have to be made stricter, without which all works too
		o.SecurityIsOur, err = c.MayChange(ctx, "patch", o.Namespace)
	}
	return err
}

func (o *Observed) observeReleases(ctx context.Context, c *kube.Client) error {
	all, err := revisions(ctx, c, o.Namespace)
	if err != nil {
		return err
	}
	o.Releases = installed(all, o.Project)
	o.deploy = nextDeploy(all, o.Project) - 1
	return o.observeOthers(ctx, c)
}

// revisions is every kept revision of every Helm release in the namespace, "" for all.
func revisions(ctx context.Context, c *kube.Client, namespace string) ([]*helmrelease.Release, error) {
	d := driver.NewSecrets(secrets{c.Interface.CoreV1().Secrets(namespace), ctx})
	d.SetLogger(slog.DiscardHandler)
	all, err := d.List(func(helmrel.Releaser) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("helm releases: %w", err)
	}
	found := make([]*helmrelease.Release, 0, len(all))
	for _, r := range all {
		if rel, ok := r.(*helmrelease.Release); ok && rel.Chart != nil && rel.Chart.Metadata != nil && rel.Info != nil {
			found = append(found, rel)
		}
	}
	return found, nil
}

// installed folds revisions into releases and keeps those of the project ("" keeps all).
func installed(revisions []*helmrelease.Release, project string) map[string]Installed {
	sort.Slice(revisions, func(i, j int) bool { return revisions[i].Version < revisions[j].Version })
	found := map[string]Installed{}
	deployed := map[string]bool{}
	for _, rel := range revisions {
		notes := rel.Chart.Metadata.Annotations
		key := rel.Namespace + "/" + rel.Name
		in := found[key]
		in.Name, in.Service, in.Project = rel.Name, notes[serviceAnnotation], notes[projectAnnotation]
		in.Revision, in.Status, in.Digest = rel.Version, rel.Info.Status.String(), notes[digestAnnotation]
		in.namespace, in.Deploy = rel.Namespace, deployOf(rel)
		in.Updated, in.app = rel.Info.LastDeployed, rel.Chart.Metadata.AppVersion
		in.DependsOn, in.Once = strings.Fields(notes[afterAnnotation]), notes[onceAnnotation]
		if in.Foreign = notes[foreignAnnotation]; in.Foreign != "" {
			in.Values = rel.Config
		}
		in.kept += rel.Manifest + "\n" + notes[requiresAnnotation] + "\n"
		if rel.Info.Status == helmstatus.StatusDeployed || !deployed[key] {
			in.Manifest = rel.Manifest
			deployed[key] = rel.Info.Status == helmstatus.StatusDeployed
		}
		if rel.Info.Status == helmstatus.StatusDeployed {
			in.Deployed = rel.Version
		}
		found[key] = in
	}
	releases := make(map[string]Installed, len(found))
	for key, in := range found {
		if project == "" {
			releases[key] = in
		} else if in.Project == project {
			releases[in.Name] = in
		}
	}
	return releases
}

func (o *Observed) observeVolumes(ctx context.Context, c *kube.Client) error {
	list, err := c.Interface.CoreV1().PersistentVolumeClaims(o.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		claim := &list.Items[i]
		o.Volumes[claim.Name] = claim.Spec.Resources.Requests[corev1.ResourceStorage]
	}
	return nil
}

func (o *Observed) observeJobs(ctx context.Context, c *kube.Client) (err error) {
	o.Jobs, err = c.Jobs(ctx, o.Namespace)
	return err
}

// ours selects what Perch made outside of releases for a project.
func ours(namespace, component string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: kube.ProjectLabel + "=" + namespace + "," + kube.ComponentLabel + "=" + component}
}

func listConfigMaps(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Config, error) {
	list, err := c.Interface.CoreV1().ConfigMaps(namespace).List(ctx, ours(namespace, "config"))
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Config, len(list.Items))
	for i := range list.Items {
		m := &list.Items[i]
		found[Ref{"ConfigMap", m.Name}] = Config{m.Annotations[kube.ServiceAnnotation], m.Data}
	}
	return found, nil
}

func listSecrets(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Config, error) {
	list, err := c.Interface.CoreV1().Secrets(namespace).List(ctx, ours(namespace, "config"))
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Config, len(list.Items))
	for i := range list.Items {
		s := &list.Items[i]
		found[Ref{"Secret", s.Name}] = Config{s.Annotations[kube.ServiceAnnotation], texts(s.Data)}
	}
	return found, nil
}

func texts(data map[string][]byte) map[string]string {
	m := make(map[string]string, len(data))
	for k, v := range data {
		m[k] = string(v)
	}
	return m
}

func listDeployments(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Workload, error) {
	list, err := c.Interface.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Workload, len(list.Items))
	for i := range list.Items {
		d := &list.Items[i]
		settled := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == d.Status.Replicas
		found[Ref{"Deployment", d.Name}] = Workload{d.Status.AvailableReplicas, count(d.Spec.Replicas), settled, applied(d)}
	}
	return found, nil
}

func listStatefulSets(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Workload, error) {
	list, err := c.Interface.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Workload, len(list.Items))
	for i := range list.Items {
		s := &list.Items[i]
		settled := s.Status.ObservedGeneration >= s.Generation && s.Status.UpdatedReplicas == s.Status.Replicas
		found[Ref{"StatefulSet", s.Name}] = Workload{s.Status.AvailableReplicas, count(s.Spec.Replicas), settled, applied(s)}
	}
	return found, nil
}

func listDaemonSets(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Workload, error) {
	list, err := c.Interface.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Workload, len(list.Items))
	for i := range list.Items {
		d := &list.Items[i]
		st := d.Status
		settled := st.ObservedGeneration >= d.Generation && st.UpdatedNumberScheduled == st.DesiredNumberScheduled
		found[Ref{"DaemonSet", d.Name}] = Workload{st.NumberAvailable, st.DesiredNumberScheduled, settled, applied(d)}
	}
	return found, nil
}

func listServices(ctx context.Context, c *kube.Client, namespace string) (map[Ref]Workload, error) {
	list, err := c.Interface.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := make(map[Ref]Workload, len(list.Items))
	for i := range list.Items {
		found[Ref{"Service", list.Items[i].Name}] = Workload{Settled: true, Applied: applied(&list.Items[i])}
	}
	return found, nil
}

// applied tells whether an object was made from the project's Compose file and belongs to no release.
func applied(o metav1.Object) bool {
	const instance, helms = "app.kubernetes.io/instance", "meta.helm.sh/release-name"
	return o.GetLabels()[instance] == o.GetNamespace() && o.GetAnnotations()[kube.ServiceAnnotation] != "" && o.GetAnnotations()[helms] == ""
}

func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
