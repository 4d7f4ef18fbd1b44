package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmkube "helm.sh/helm/v4/pkg/kube"
	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/perch-k8s/perch/internal/kube"
)

// helmTimeout bounds what Helm itself waits for, which is nothing: waiting is ours.
const helmTimeout = time.Minute

// fieldManager is the owner of the fields that releases apply. It is the name that the helm program uses, so that
// `helm rollback` and `helm upgrade` work on our releases without a conflict.
const fieldManager = "helm"

// setFieldManager tells Helm's kube package our field manager, which it takes from a variable of its own.
var setFieldManager = sync.OnceFunc(func() { helmkube.ManagedFieldsManager = fieldManager }) //nolint:gochecknoglobals // guards Helm's

// getter lets Helm use our connections and our discovery cache.
type getter struct{ client *kube.Client }

var _ action.RESTClientGetter = getter{}

func (g getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.client.REST), nil }

func (g getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.client.Discovery, nil
}

func (g getter) ToRESTMapper() (meta.RESTMapper, error) { return g.client.Mapper, nil }

func (g getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	overrides := &clientcmd.ConfigOverrides{}
	overrides.Context.Namespace = g.client.Namespace
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), overrides)
}

// helm is Helm for one namespace of one cluster.
type helm struct {
	client    *kube.Client
	namespace string
	history   int
	version   common.KubeVersion
	notes     func(*helmrelease.Release) map[string]string // annotations of each revision that is made; nil: none
}

func newHelm(c *kube.Client, namespace string, history int) (*helm, error) {
	setFieldManager()
	v, err := c.Discovery.ServerVersion()
	if err != nil {
		return nil, c.Explain(err)
	}
	if history <= 0 {
		history = defaultHistory
	}
	version := common.KubeVersion{Version: v.GitVersion, Major: v.Major, Minor: v.Minor}
	return &helm{client: c, namespace: namespace, history: history, version: version}, nil
}

// waiter is Helm's wait, which is ours: it tells that the objects are applied and then takes our verdict. So the
// release ends as deployed or failed by what our watch saw.
type waiter struct {
	applied func()
	verdict <-chan error
	foreign bool            // the chart is somebody else's: its hooks run, and Helm waits for them
	ctx     context.Context //nolint:containedctx // Helm's actions take none for hooks
	timeout time.Duration   // for each hook; 0 is helmTimeout
}

// hooks is how long each hook of a chart may take.
func (w waiter) hooks() time.Duration { return cmp.Or(w.timeout, helmTimeout) }

var _ helmkube.Waiter = waiter{}

func (w waiter) Wait(helmkube.ResourceList, time.Duration) error {
	w.applied()
	return <-w.verdict
}

func (w waiter) WaitWithJobs(r helmkube.ResourceList, t time.Duration) error { return w.Wait(r, t) }

func (w waiter) WaitForDelete(helmkube.ResourceList, time.Duration) error { return nil }

func (w waiter) WatchUntilReady(helmkube.ResourceList, time.Duration) error { return nil }

// hookWaiter is our wait for objects, and Helm's own for hooks.
type hookWaiter struct {
	waiter
	own helmkube.Waiter
}

var _ helmkube.Waiter = hookWaiter{}

// Wait is called for custom resource definitions first, before anything of the release is there.
func (w hookWaiter) Wait(r helmkube.ResourceList, t time.Duration) error {
	definitions := len(r) > 0
	for _, one := range r {
		definitions = definitions && one.Mapping != nil && one.Mapping.GroupVersionKind.Kind == "CustomResourceDefinition"
	}
	if definitions {
		return w.own.Wait(r, t)
	}
	return w.waiter.Wait(r, t)
}

func (w hookWaiter) WaitForDelete(r helmkube.ResourceList, t time.Duration) error {
	return w.own.WaitForDelete(r, t)
}

func (w hookWaiter) WatchUntilReady(r helmkube.ResourceList, t time.Duration) error {
	return w.own.WatchUntilReady(r, t)
}

// helmClient is Helm's client with our waiter.
type helmClient struct {
	*helmkube.Client
	waiter waiter
}

var (
	_ helmkube.Interface            = (*helmClient)(nil)
	_ helmkube.InterfaceWaitOptions = (*helmClient)(nil)
)

// IsReachable has nothing to ask: the snapshot of a moment ago came from this cluster.
func (*helmClient) IsReachable() error { return nil }

func (c *helmClient) GetWaiter(s helmkube.WaitStrategy) (helmkube.Waiter, error) {
	return c.GetWaiterWithOptions(s)
}

func (c *helmClient) GetWaiterWithOptions(s helmkube.WaitStrategy, o ...helmkube.WaitOption) (helmkube.Waiter, error) {
	if !c.waiter.foreign {
		return c.waiter, nil
	}
	if c.waiter.ctx != nil {
		o = append(o, helmkube.WithWaitContext(c.waiter.ctx))
	}
	own, err := c.Client.GetWaiterWithOptions(s, o...)
	return hookWaiter{c.waiter, own}, err
}

// storage is the releases of the namespace, kept in Secrets as the helm program does. Its requests end with ctx.
func (h *helm) storage(ctx context.Context) *storage.Storage {
	d := driver.NewSecrets(secrets{h.client.Interface.CoreV1().Secrets(h.namespace), ctx})
	d.SetLogger(slog.DiscardHandler)
	return storage.Init(d)
}

// configuration is a fresh one for each action: they write to it.
func (h *helm) configuration(w waiter) *action.Configuration {
	k := helmkube.New(getter{h.client})
	k.Namespace = h.namespace
	k.SetLogger(slog.DiscardHandler)
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	config.RESTClientGetter = getter{h.client}
	config.KubeClient = &helmClient{Client: k, waiter: w}
	// A release must be recorded as failed even when the run was cancelled: Helm's own requests are short.
	config.Releases = h.storage(context.Background())
	config.Releases.MaxHistory = h.history
	if h.notes != nil {
		config.Releases.Driver = marking{config.Releases.Driver, h.notes}
	}
	if w.foreign {
		return config // Helm asks the server which APIs there are: the chart may want to know
	}
	// Our charts do not ask which APIs there are, and asking costs Helm a discovery of the whole server each time.
	config.Capabilities = &common.Capabilities{
		KubeVersion: h.version,
		APIVersions: common.DefaultVersionSet,
		HelmVersion: common.DefaultCapabilities.HelmVersion,
	}
	return config
}

// install runs Helm's install; it returns when the waiter got its verdict and the release is recorded. adopt takes objects
// that are there into the release.
func (h *helm) install(u *Unit, project string, adopt bool, w waiter) error {
	ch, err := load(u, project)
	if err != nil {
		return err
	}
	a := action.NewInstall(h.configuration(w))
	a.ReleaseName, a.Namespace = u.Release, h.namespace
	a.Replace = true // takes the place of a release that was uninstalled with its history kept
	a.TakeOwnership, a.ForceConflicts = adopt, adopt
	a.DisableHooks, a.DisableOpenAPIValidation, a.SkipCRDs = !w.foreign, true, !w.foreign
	a.Timeout, a.WaitStrategy = w.hooks(), helmkube.StatusWatcherStrategy
	a.Labels = map[string]string{kube.ProjectLabel: h.namespace}
	var values map[string]any
	if w.foreign {
		a.PostRenderer = marked{u.Service, u.Release, h.namespace}
		if values, err = copied(u.Values); err != nil {
			return err
		}
	}
	_, err = a.Run(ch, values)
	return err
}

// upgrade runs Helm's upgrade; it returns when the waiter got its verdict and the release is recorded.
func (h *helm) upgrade(u *Unit, project, description string, w waiter) error {
	ch, err := load(u, project)
	if err != nil {
		return err
	}
	a := action.NewUpgrade(h.configuration(w))
	a.Namespace, a.MaxHistory, a.Description = h.namespace, h.history, description
	a.ServerSideApply, a.ForceConflicts = "true", true // the Compose file has the last word, as over `kubectl scale`
	a.DisableHooks, a.DisableOpenAPIValidation, a.SkipCRDs = !w.foreign, true, true
	a.Timeout, a.WaitStrategy = w.hooks(), helmkube.StatusWatcherStrategy
	a.ResetValues = true
	a.Labels = map[string]string{kube.ProjectLabel: h.namespace}
	var values map[string]any
	if w.foreign {
		a.PostRenderer = marked{u.Service, u.Release, h.namespace}
		if values, err = copied(u.Values); err != nil {
			return err
		}
	}
	_, err = a.Run(u.Release, ch, values)
	return err
}

// rollback runs Helm's rollback; it returns when the waiter got its verdict and the release is recorded.
func (h *helm) rollback(name string, revision int, description string, w waiter) error {
	a := action.NewRollback(h.configuration(w))
	a.Version, a.MaxHistory = revision, h.history
	a.Description = description
	a.ServerSideApply, a.ForceConflicts, a.DisableHooks = "true", true, !w.foreign
	a.Timeout, a.WaitStrategy = w.hooks(), helmkube.StatusWatcherStrategy
	return a.Run(name)
}

// uninstall removes the release and its history. It does not wait for the objects to be gone; hooks of a foreign chart run.
func (h *helm) uninstall(ctx context.Context, name string, foreign bool) error {
	w := waiter{foreign: foreign, ctx: ctx}
	a := action.NewUninstall(h.configuration(w))
	a.DisableHooks, a.IgnoreNotFound = !foreign, true
	a.DeletionPropagation = "background"
	a.Timeout, a.WaitStrategy = helmTimeout, helmkube.StatusWatcherStrategy
	_, err := a.Run(name)
	return err
}

// repair makes a release usable that a killed run left behind: a pending revision is marked as failed, which is what
// it is, since we hold the lock.
func (h *helm) repair(ctx context.Context, name string) error {
	s := h.storage(ctx)
	last, err := s.Last(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", name, err)
	}
	rel, ok := last.(*helmrelease.Release)
	if !ok || !rel.Info.Status.IsPending() {
		return nil
	}
	rel.SetStatus(helmstatus.StatusFailed, interrupted)
	if err := s.Update(rel); err != nil {
		return fmt.Errorf("release %s: %w", name, err)
	}
	return nil
}

// repairOthers repairs the releases that a killed run left behind and that the plan does not touch, so that nobody finds
// them locked.
func (h *helm) repairOthers(ctx context.Context, o Observed, p Plan) error {
	touched := map[string]bool{}
	for _, s := range p.Steps {
		if s.Kind != Unchanged {
			touched[s.Service] = true
		}
	}
	for _, in := range o.Releases {
		if strings.HasPrefix(in.Status, "pending") && !touched[in.Service] {
			if err := h.repair(ctx, in.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// load makes Helm's chart from ours and writes into its annotations what the release must remember.
func load(u *Unit, project string) (*chartv2.Chart, error) {
	files := make([]*archive.BufferedFile, 0, len(u.Chart.Files))
	for _, f := range u.Chart.Files {
		files = append(files, &archive.BufferedFile{Name: f.Name, Data: f.Data})
	}
	ch, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("chart of service %s: %w", u.Service, err)
	}
	annotations := maps.Clone(ch.Metadata.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	after := make([]string, 0, len(u.DependsOn))
	for _, d := range u.DependsOn {
		after = append(after, d.Service)
	}
	slices.Sort(after)
	annotations[digestAnnotation] = u.Chart.Digest
	annotations[projectAnnotation] = project
	annotations[serviceAnnotation] = u.Service
	annotations[requiresAnnotation] = strings.Join(requires(u), " ")
	annotations[afterAnnotation] = strings.Join(after, " ")
	if u.Once != "" {
		annotations[onceAnnotation] = u.Once
	}
	if u.Foreign != "" {
		annotations[foreignAnnotation] = u.Foreign
	}
	ch.Metadata.Annotations = annotations
	return ch, nil
}

// requires is the names of everything outside the release that this version of the service needs.
func requires(u *Unit) []string {
	var names []string
	for _, o := range u.Config {
		if ref, err := refOf(o); err == nil {
			names = append(names, ref.String())
		}
	}
	for _, j := range u.Migrations {
		names = append(names, Ref{"Job", j.Name}.String())
	}
	slices.Sort(names)
	return names
}
