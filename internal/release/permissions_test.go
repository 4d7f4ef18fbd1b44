package release

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cmpdiff "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/fit"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// asked is what an API server was asked for, as its authorization sees it.
type asked struct {
	mu    sync.Mutex
	verbs map[string]bool // "VERB RESOURCE[/SUBRESOURCE].GROUP"
}

// seen are the requests, sorted.
func (a *asked) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.verbs))
}

// reset forgets all.
func (a *asked) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verbs = map[string]bool{}
}

// roundTripper notes each request by the API server's own rules. What is applied and was not there is created too, which the
// server asks for then.
func (a *asked) roundTripper(next http.RoundTripper) http.RoundTripper {
	rules := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	return trip(func(r *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		info, ierr := rules.NewRequestInfo(r)
		if ierr != nil || !info.IsResourceRequest {
			return answer, err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		resource := info.Resource
		if info.Subresource != "" {
			resource += "/" + info.Subresource
		}
		a.verbs[info.Verb+" "+resource+"."+info.APIGroup] = true
		if err == nil && info.Verb == "patch" && answer.StatusCode == http.StatusCreated {
			a.verbs["create "+resource+"."+info.APIGroup] = true
		}
		return answer, err
	})
}

type trip func(*http.Request) (*http.Response, error)

func (t trip) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// recording is a client of the same cluster, with another identity if a token is given, and what it asks for.
func recording(t *testing.T, admin *kube.Client, token string) (*kube.Client, *asked) {
	t.Helper()
	a := &asked{verbs: map[string]bool{}}
	config := rest.CopyConfig(admin.REST)
	if token != "" {
		config = rest.AnonymousClientConfig(config)
		config.BearerToken = token
	}
	config.Wrap(a.roundTripper)
	c, err := kube.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// everyKind is a project that has an object of each kind that Perch makes. Only the first version has a NetworkPolicy; each has
// a Service and a StatefulSet that must be replaced.
func everyKind(t *testing.T, ns string, version int, webImage string) Wanted {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "shop"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	one := intstr.FromInt32(1)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Annotations: map[string]string{kube.ServiceAnnotation: "web", "version": fmt.Sprint(version)}}
	}
	address := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, Selector: labels}
	if version > 1 {
		address.ClusterIP = corev1.ClusterIPNone
	}
	elastic := deployment("web", webImage, 2, fmt.Sprintf("web-env-%d", version))
	elastic.Spec.Replicas = nil // the autoscaler's
	objects := []runtime.Object{
		elastic,
		&corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta("web"), Spec: address},
		&policyv1.PodDisruptionBudget{
			TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: meta("web"),
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: &one},
		},
		&networkingv1.Ingress{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: meta("web"),
			Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
				Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80},
			}}},
		},
		&autoscalingv2.HorizontalPodAutoscaler{
			TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: meta("web"),
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MinReplicas: new(int32(2)), MaxReplicas: 3,
			},
		},
		&batchv1.CronJob{
			TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"}, ObjectMeta: meta("nightly"),
			Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job("x", ns, "job", "nightly:1").Spec}},
		},
	}
	if version == 1 {
		objects = append(objects, &networkingv1.NetworkPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: meta("web"),
			Spec: networkingv1.NetworkPolicySpec{PodSelector: *selector},
		})
	}
	web := unit(t, "web", objects...)
	config := fmt.Sprintf("web-env-%d", version)
	web.Config = []runtime.Object{
		settings(config, ns, "web", map[string]string{"PORT": fmt.Sprint(version)}),
		&corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: config, Labels: map[string]string{kube.ProjectLabel: ns, kube.ComponentLabel: "config"}},
		},
	}
	web.Migrations = []*batchv1.Job{job(fmt.Sprintf("web-pre-start-%d", version), ns, "migration", "web:1")}
	web.DependsOn = []Dependency{{Service: "db", Condition: Healthy, Required: true}}
	web.TakeBack = true
	template := deployment("db", fmt.Sprintf("db:%d", version), 1).Spec
	db := &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: meta("db"),
		Spec: appsv1.StatefulSetSpec{Replicas: template.Replicas, Selector: template.Selector, Template: template.Template, ServiceName: fmt.Sprintf("db%d", version)},
	}
	template = deployment("agent", fmt.Sprintf("agent:%d", version), 1).Spec
	agent := &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"}, ObjectMeta: meta("agent"),
		Spec: appsv1.DaemonSetSpec{Selector: template.Selector, Template: template.Template},
	}
	load := job("load", ns, "", fmt.Sprintf("load:%d", version))
	return Wanted{
		Project: "shop", Namespace: ns, Volumes: []runtime.Object{claim("db-data", ns, "1Gi")},
		Units: []Unit{web, unit(t, "db", db), unit(t, "agent", agent), unit(t, "load", load)},
	}
}

// settle has the StatefulSets and DaemonSets of a namespace ready at once, and its claims deleted at once.
func settle(t *testing.T, c *kube.Client, namespace string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	apps, claims := c.Interface.AppsV1(), c.Interface.CoreV1().PersistentVolumeClaims(namespace)
	open := []func(context.Context, metav1.ListOptions) (watch.Interface, error){
		apps.StatefulSets(namespace).Watch, apps.DaemonSets(namespace).Watch, claims.Watch,
	}
	act := func(o runtime.Object) (err error) {
		switch o := o.(type) {
		case *appsv1.StatefulSet:
			if o.Status.ObservedGeneration != o.Generation {
				o.Status = appsv1.StatefulSetStatus{ObservedGeneration: o.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
				_, err = apps.StatefulSets(namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
			}
		case *appsv1.DaemonSet:
			if o.Status.ObservedGeneration != o.Generation {
				o.Status = appsv1.DaemonSetStatus{ObservedGeneration: o.Generation, DesiredNumberScheduled: 1, UpdatedNumberScheduled: 1, NumberAvailable: 1}
				_, err = apps.DaemonSets(namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
			}
		case *corev1.PersistentVolumeClaim:
			if len(o.Finalizers) > 0 {
				_, err = claims.Patch(ctx, o.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			}
		}
		return err
	}
	for _, one := range open {
		w, err := one(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			<-ctx.Done()
			w.Stop()
		})
		running.Go(func() {
			for e := range w.ResultChan() {
				if e.Type != watch.Added && e.Type != watch.Modified {
					continue
				}
				if err := act(e.Object); err != nil && ctx.Err() == nil {
					t.Logf("settle: %v", err)
				}
			}
		})
	}
}

// wholeLife deploys a project, changes it, has a rollout fail, rolls back, and removes all. It gives what the removal told.
func wholeLife(t *testing.T, c *kube.Client, ns string, volumes bool) map[string]progress.Status {
	t.Helper()
	removed := &recorder{}
	options := ExecuteOptions{Timeout: time.Minute, HistoryMax: 3}
	steps := []struct {
		name string
		do   func() error
	}{
		{"install", func() error { _, _, err := deployWith(t, c, everyKind(t, ns, 1, "web:1"), options); return err }},
		{"change", func() error { _, _, err := deployWith(t, c, everyKind(t, ns, 2, "web:2"), options); return err }},
		{"fail", func() error {
			_, _, err := deployWith(t, c, everyKind(t, ns, 3, "broken:3"), options)
			if fault.KindOf(err) != fault.RolledBack {
				return cmp.Or(err, fmt.Errorf("the rollout did not fail"))
			}
			return nil
		}},
		{"roll back", func() error { _, _, err := rollBack(t, c, ns, 2, options); return err }},
		{"restart", func() error {
			w := everyKind(t, ns, 2, "web:2")
			w.Recreate = true
			_, _, err := deployWith(t, c, w, options)
			return err
		}},
		{"remove", func() error {
			return Remove(t.Context(), c, "shop", ns, RemoveOptions{Timeout: time.Minute, Volumes: volumes}, removed)
		}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	return removed.last()
}

// given makes a namespace for an account that may not make it: with Perch's label on it, and no level of Pod Security, which the
// account may not set. Controllers act in it.
func given(t *testing.T, admin *kube.Client, ns string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{kube.ProjectLabel: ns}}}
	if _, err := admin.Interface.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllers(t, admin, ns)
	settle(t, admin, ns)
}

// account makes a service account with a Role, and gives its token and name.
func account(t *testing.T, admin *kube.Client, ns string, all []fit.Permission) (token, user string) {
	t.Helper()
	accounts := admin.Interface.CoreV1().ServiceAccounts(ns)
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	user = "system:serviceaccount:" + ns + ":deployer"
	grant(t, admin, ns, user, all)
	answer, err := accounts.CreateToken(t.Context(), "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token, user
}

// grant applies the Role as it stands in docs and hints.
func grant(t *testing.T, admin *kube.Client, ns, user string, all []fit.Permission) {
	t.Helper()
	var list struct{ Items []map[string]any }
	if err := yaml.Unmarshal([]byte(fit.Role("perch-deployer", ns, user, all)), &list); err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Items {
		if err := admin.Apply(t.Context(), []runtime.Object{&unstructured.Unstructured{Object: o}}); err != nil {
			t.Fatal(err)
		}
	}
}

// rightOf is one verb of a permission.
func rightOf(ns, verb string, p fit.Permission) authorizationv1.ResourceAttributes {
	resource, sub, _ := strings.Cut(p.Resource, "/")
	return authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Group: p.Group, Resource: resource, Subresource: sub}
}

// until waits until the account may do something, or may not: the API server sees a changed Role a moment later.
func until(t *testing.T, c *kube.Client, may bool, what authorizationv1.ResourceAttributes) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		got, err := c.May(ctx, what)
		if err != nil {
			t.Fatal(err)
		}
		if got == may {
			return
		}
	}
}

// needsOf is what a project of this test needs.
func needsOf(t *testing.T, w Wanted) fit.Needs {
	t.Helper()
	objects := slices.Clone(w.Volumes)
	for _, u := range w.Units {
		objects = slices.Concat(objects, u.Config, u.Objects)
		for _, j := range u.Migrations {
			objects = append(objects, j)
		}
	}
	n, err := fit.Of(fit.Wanted{Project: w.Project, Namespace: w.Namespace, Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPermissionsAreThoseThatAreUsed compares the table of package fit with what the API server is asked for in the life of a
// project, by an account that has just that.
func TestPermissionsAreThoseThatAreUsed(t *testing.T) {
	t.Parallel()
	admin, ns := connect(t), "permissions"
	given(t, admin, ns)
	token, _ := account(t, admin, ns, fit.Deployer())
	c, a := recording(t, admin, token)
	needs := needsOf(t, everyKind(t, ns, 1, "web:1"))
	until(t, c, true, authorizationv1.ResourceAttributes{Namespace: ns, Verb: "delete", Group: "policy", Resource: "poddisruptionbudgets"})
	if _, err := c.Interface.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !kube.Forbidden(err) {
		t.Errorf("it may list nodes: %v", err)
	}
	if err := fit.Check(t.Context(), c, needs, progress.Discard); err != nil {
		t.Error(err)
	}
	a.reset()
	removed := wholeLife(t, c, ns, true)
	if removed["service web"] != progress.Done || removed["volume db-data"] != progress.Done || removed["namespace "+ns] != progress.Same {
		t.Errorf("the removal told %v", removed)
	}

	table := map[string]bool{}
	for _, p := range needs.Permissions() {
		for _, verb := range p.Verbs {
			table[verb+" "+p.Resource+"."+p.Group] = true
		}
	}
	// What a run of this test does not come to.
	rarely := map[string]string{
		"update leases.coordination.k8s.io": "a heartbeat, after 5 s",
		"get pods.":                         "a migration that failed",
		"get pods/log.":                     "a container that prints something",
		"get pods/portforward.":             "a database, which package up asks",
		"create pods/portforward.":          "a database, which package up asks",
		"watch persistentvolumeclaims.":     "one that is in use when it is deleted",
		"watch services.":                   "one that is replaced and does not go at once",
	}
	for _, one := range a.seen() {
		if !table[one] && !strings.HasSuffix(one, ".authorization.k8s.io") {
			t.Errorf("it was asked for %q, which is not in the table", one)
		}
		delete(table, one)
	}
	for one := range table {
		if _, ok := rarely[one]; !ok {
			t.Errorf("the table has %q, which was not asked for", one)
		}
	}
}

// TestLittleIsEnough deploys with an account that has nothing but what a deploy cannot do without: it may not look at the
// namespace, at events or into logs.
func TestLittleIsEnough(t *testing.T) {
	t.Parallel()
	admin, ns := connect(t), "little"
	given(t, admin, ns)
	needs := needsOf(t, everyKind(t, ns, 1, "web:1"))
	little := slices.DeleteFunc(needs.Permissions(), func(p fit.Permission) bool { return p.Without != "" })
	token, _ := account(t, admin, ns, little)
	c, _ := recording(t, admin, token)
	until(t, c, true, authorizationv1.ResourceAttributes{Namespace: ns, Verb: "patch", Group: "policy", Resource: "poddisruptionbudgets"})
	if err := fit.Check(t.Context(), c, needs, progress.Discard); err != nil {
		t.Error(err)
	}
	wholeLife(t, c, ns, false)
}

// TestEachPermissionIsNamed takes one verb after the other away from the account, and has the cluster checked each time.
func TestEachPermissionIsNamed(t *testing.T) {
	t.Parallel()
	admin, ns := connect(t), "one-by-one"
	given(t, admin, ns)
	w := everyKind(t, ns, 1, "web:1")
	needs := needsOf(t, w)
	token, user := account(t, admin, ns, needs.Permissions())
	c, _ := recording(t, admin, token)
	until(t, c, true, authorizationv1.ResourceAttributes{Namespace: ns, Verb: "patch", Group: "policy", Resource: "poddisruptionbudgets"})
	if _, _, err := deployWith(t, c, w, ExecuteOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	before := fingerprint(t, admin, ns)
	done, restored := map[string]bool{}, func() {}
	for _, p := range needs.Permissions() {
		for _, verb := range p.Verbs {
			name, sub, under := strings.Cut(p.Resource, "/")
			what := verb + " " + strings.TrimSuffix(name+"."+p.Group, ".")
			if under {
				what += "/" + sub
			}
			if done[what] {
				continue
			}
			done[what] = true
			grant(t, admin, ns, user, without(needs.Permissions(), verb, p))
			restored()
			until(t, c, false, rightOf(ns, verb, p))
			seen, err := fit.Look(t.Context(), c, needs)
			if err != nil {
				t.Fatalf("without %s: %v", what, err)
			}
			var named []string
			missing := 0
			for _, f := range fit.Judge(needs, seen) {
				if strings.HasPrefix(f.What, "permission to ") {
					named = append(named, f.What)
				}
				if f.Level == fit.Missing {
					missing++
				}
			}
			if want := []string{"permission to " + what + " in namespace " + ns}; !slices.Equal(named, want) {
				t.Errorf("without %s these are named: %q", what, named)
			}
			err = fit.Check(t.Context(), c, needs, progress.Discard)
			if (err != nil) != (missing > 0) || err != nil && !strings.Contains(fault.HintOf(err), "kind: ServiceAccount, name: deployer, namespace: "+ns) {
				t.Errorf("without %s: error %v", what, err)
			}
			restored = func() { until(t, c, true, rightOf(ns, verb, p)) }
		}
	}
	t.Logf("%d verbs were taken away, one by one", len(done))
	if diff := cmpdiff.Diff(before, fingerprint(t, admin, ns)); diff != "" {
		t.Errorf("something was changed (-before +after):\n%s", diff)
	}
}

// without is permissions without one verb of one resource.
func without(all []fit.Permission, verb string, of fit.Permission) []fit.Permission {
	var out []fit.Permission
	for _, p := range all {
		if p.Resource == of.Resource && p.Group == of.Group {
			p.Verbs = slices.DeleteFunc(slices.Clone(p.Verbs), func(v string) bool { return v == verb })
		}
		if len(p.Verbs) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// fingerprint is the version of each object of a namespace, but for those that the test changes itself.
func fingerprint(t *testing.T, c *kube.Client, ns string) map[string]string {
	t.Helper()
	found := map[string]string{}
	lists, err := c.Discovery.ServerPreferredNamespacedResources()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || gv.Group == "rbac.authorization.k8s.io" {
				continue
			}
			objects, err := c.Dynamic.Resource(gv.WithResource(r.Name)).Namespace(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects.Items {
				found[o.GetKind()+" "+o.GetName()] = o.GetResourceVersion()
			}
		}
	}
	return found
}
