package release

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocireg "github.com/google/go-containerregistry/pkg/registry"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	helmregistry "helm.sh/helm/v4/pkg/registry"
	repo "helm.sh/helm/v4/pkg/repo/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// storeFiles is a chart as others write them: with a schema, hooks, a list, a claim, an object outside of the namespace, a custom
// resource definition, a label that selects, and a value that is another one each time.
func storeFiles(version string) map[string]string {
	return map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: store\nversion: " + version + "\n",
		"values.yaml":        "image: store:1\nreplicas: 1\nhook: hook:1\npassword: \"\"\n",
		"values.schema.json": `{"properties": {"replicas": {"type": "integer"}, "password": {"type": "string"}}}`,
		"crds/things.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.perch.test}
spec:
  group: perch.test
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`,
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-store
  labels: &labels {app: store, release: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: *labels}
  template:
    metadata: {labels: *labels}
    spec: {containers: [{name: store, image: {{ .Values.image | quote }}}]}
`,
		"templates/others.yaml": `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: {{ .Release.Name }}-store}
  spec: {selector: {app: store}, ports: [{port: 5432}]}
- apiVersion: v1
  kind: Secret
  metadata: {name: {{ .Release.Name }}-store}
  stringData: {dice: {{ randAlphaNum 10 | quote }}, password: {{ .Values.password | quote }}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: {{ .Release.Name }}-store}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: {{ .Release.Namespace }}-{{ .Release.Name }}}
rules: []
---
{{- if .Capabilities.APIVersions.Has "perch.test/v1" }}
apiVersion: perch.test/v1
kind: Thing
metadata: {name: one}
{{- end }}
`,
		"templates/test.yaml": `apiVersion: v1
kind: Pod
metadata: {name: test, annotations: {helm.sh/hook: test}}
spec: {hostNetwork: true, containers: [{name: test, image: test}]}
`,
		"templates/hook.yaml": `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-prepare
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: prepare, image: {{ .Values.hook | quote }}}]}}
`,
	}
}

// storeFolder writes the chart into a folder.
func storeFolder(t *testing.T, version string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	for name, text := range storeFiles(version) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// storeArchive packs the chart into a folder and returns the archive.
func storeArchive(t *testing.T, into, version string) string {
	t.Helper()
	c, err := loader.Load(storeFolder(t, version))
	if err != nil {
		t.Fatal(err)
	}
	file, err := chartutil.Save(c, into)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// storeIn is a project whose database is the chart.
func storeIn(t *testing.T, c *kube.Client, namespace string, s Source, values map[string]any) Wanted {
	t.Helper()
	fetched, err := Fetch(t.Context(), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, hooks, err := Foreign{
		Service: "db", Release: "shop-db", Namespace: namespace, Chart: fetched, Values: values, Names: []string{"db", "database"},
	}.Unit(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(hooks) != 1 {
		t.Errorf("hooks %v, want the Job", hooks)
	}
	web := unit(t, "web", deployment("web", "web:1", 1))
	web.DependsOn = []Dependency{{Service: "db", Condition: Healthy, Required: true}}
	return Wanted{Project: "shop", Namespace: namespace, Units: []Unit{db, web}}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "foreign"
	controllers(t, c, ns)
	source := Source{Path: storeFolder(t, "1.0.0")}
	values := map[string]any{"password": "hidden-value"}
	_, r, err := deploy(t, c, storeIn(t, c, ns, source, values))
	if err != nil {
		t.Fatal(err)
	}
	if db, web := r.position("service db", "done"), r.position("service web", "working"); db < 0 || web < db {
		t.Errorf("web began (%d) before db was ready (%d)", web, db)
	}
	d, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "shop-db-store", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template
	if d.Annotations[kube.ServiceAnnotation] != "db" || pod.Annotations[kube.ServiceAnnotation] != "db" || pod.Labels[kube.InstanceLabel] != "shop-db" {
		t.Errorf("its pods are not found under the service's name: %v %v %v", d.Annotations, pod.Annotations, pod.Labels)
	}
	if diff := cmp.Diff(map[string]string{"app": "store", "release": "shop-db"}, d.Spec.Selector.MatchLabels); diff != "" {
		t.Errorf("selector (-want +got):\n%s", diff)
	}
	for _, name := range []string{"db", "database"} {
		s, err := c.Interface.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || s.Spec.ExternalName != "shop-db-store."+ns+".svc.cluster.local" {
			t.Errorf("service %s: %v, %v", name, s.Spec, err)
		}
	}
	if j, err := c.Interface.BatchV1().Jobs(ns).Get(t.Context(), "shop-db-prepare", metav1.GetOptions{}); err != nil || j.Status.Succeeded != 1 {
		t.Errorf("the hook did not run: %v", err)
	}

	p, _, err := deploy(t, c, storeIn(t, c, ns, source, values))
	if err != nil || p.Changes() {
		t.Errorf("unchanged, though the chart rolls dice: %v\n%s", err, p)
	}

	p, _, err = deploy(t, c, storeIn(t, c, ns, Source{Path: storeFolder(t, "1.1.0")}, map[string]any{"password": "other-value", "replicas": 2}))
	if err != nil {
		t.Fatal(err)
	}
	const cause = "chart store 1.0.0 → store 1.1.0, value password changed, value replicas changed"
	if s, _ := p.step("upgrade db"); s.Cause != cause {
		t.Errorf("cause %q, want %q", s.Cause, cause)
	}

	back, err := PlanRollback(t.Context(), c, "shop", ns, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := ExecuteRollback(t.Context(), c, back, &recorder{}, ExecuteOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if d, err = c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "shop-db-store", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 1 {
		t.Errorf("after the rollback there are %d replicas, %v", *d.Spec.Replicas, err)
	}
	p, _, err = deploy(t, c, storeIn(t, c, ns, source, values))
	if err != nil || p.Changes() {
		t.Errorf("after the rollback, the first file again changes something: %v\n%s", err, p)
	}
	removeForeign(t, c, ns)
}

// removeForeign removes the project: the claim stays until it is asked for, custom resource definitions stay as with Helm.
func removeForeign(t *testing.T, c *kube.Client, ns string) {
	t.Helper()
	if err := Remove(t.Context(), c, "shop", ns, RemoveOptions{Timeout: time.Minute}, &recorder{}); err != nil {
		t.Fatal(err)
	}
	o, err := Observe(t.Context(), c, "shop", ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Releases)+len(o.Workloads) > 0 || len(o.Volumes) != 1 {
		t.Errorf("left: %v %v, volumes %v", o.Releases, o.Workloads, o.Volumes)
	}
	if _, err := c.Interface.RbacV1().ClusterRoles().Get(t.Context(), ns+"-shop-db", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ClusterRole is left: %v", err)
	}
	if _, err := c.Discovery.ServerResourcesForGroupVersion("perch.test/v1"); err != nil {
		t.Errorf("the custom resource definition: %v", err)
	}
	// The claim's finalizer is the controller manager's to take away.
	claims := c.Interface.CoreV1().PersistentVolumeClaims(ns)
	claim, err := claims.Get(t.Context(), "shop-db-store", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claim.Finalizers = nil
	if _, err := claims.Update(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), c, "shop", ns, RemoveOptions{Timeout: time.Minute, Volumes: true}, &recorder{}); err != nil {
		t.Fatal(err)
	}
	if _, err := claims.Get(t.Context(), "shop-db-store", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the claim is left: %v", err)
	}
}

// TestForeignHookFails: what runs stays as it is, and the error names the chart's hook.
func TestForeignHookFails(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "foreign-hook"
	controllers(t, c, ns)
	source := Source{Path: storeFolder(t, "1.0.0")}
	if _, _, err := deploy(t, c, storeIn(t, c, ns, source, nil)); err != nil {
		t.Fatal(err)
	}
	_, _, err := deploy(t, c, storeIn(t, c, ns, source, map[string]any{"image": "store:2", "hook": "fails:1"}))
	if fault.KindOf(err) != fault.Rollout || !strings.Contains(err.Error(), "shop-db-prepare") {
		t.Errorf("error %v", err)
	}
	if want := "look at what its chart has made: perch kubectl get all -n foreign-hook -l app.kubernetes.io/instance=shop-db"; fault.HintOf(err) != want {
		t.Errorf("hint %q, want %q", fault.HintOf(err), want)
	}
	d, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "shop-db-store", metav1.GetOptions{})
	if err != nil || d.Spec.Template.Spec.Containers[0].Image != "store:1" {
		t.Errorf("image %v, %v", d.Spec.Template.Spec.Containers, err)
	}
	if _, _, err := deploy(t, c, storeIn(t, c, ns, source, nil)); err != nil {
		t.Errorf("the next deploy: %v", err)
	}
}

// TestForeignValues: what the schema does not take is told by its place.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	fetched, err := Fetch(t.Context(), Source{Path: storeFolder(t, "1.0.0")}, "")
	if err != nil {
		t.Fatal(err)
	}
	f := Foreign{Service: "db", Release: "shop-db", Namespace: "shop", Chart: fetched, Names: []string{"db"}, Values: map[string]any{"replicas": "three", "password": 5}}
	_, _, err = f.Unit(nil)
	e, ok := errors.AsType[*ValuesError](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	want := []ValueFault{{[]string{"password"}, "got number, want string"}, {[]string{"replicas"}, "got string, want integer"}}
	slices.SortFunc(e.Faults, func(a, b ValueFault) int { return strings.Compare(a.Path[0], b.Path[0]) })
	if diff := cmp.Diff(want, e.Faults); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.Values, f.Answers = nil, "nothing"
	if _, _, err = f.Unit(nil); err == nil || fault.HintOf(err) != "those it has: shop-db-store" {
		t.Errorf("error %v, hint %q", err, fault.HintOf(err))
	}
	f.Answers = ""
	u, _, err := f.Unit(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := f.Unit(nil)
	if err != nil || u.Chart.Digest != again.Chart.Digest {
		t.Errorf("digests %s and %s, %v", u.Chart.Digest, again.Chart.Digest, err)
	}
	f.Values = map[string]any{"image": "store:2"}
	if again, _, err = f.Unit(nil); err != nil || u.Chart.Digest == again.Chart.Digest {
		t.Errorf("another value did not change the digest, %v", err)
	}
}

// TestFetchFromRepository: with the credentials of the Docker config, once, and with errors that say what there is.
func TestFetchFromRepository(t *testing.T) { //nolint:paralleltest // the Docker config is found by the environment
	dir := t.TempDir()
	storeArchive(t, dir, "1.0.0")
	storeArchive(t, dir, "1.1.0")
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if user, password, _ := r.BasicAuth(); user != "reader" || password != "open" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	index, err := repo.IndexDirectory(dir, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.WriteFile(filepath.Join(dir, "index.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	source := Source{Repo: server.URL, Name: "store", Version: "1.1.0"}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if _, err := Fetch(t.Context(), source, cache); err == nil || !strings.HasPrefix(fault.HintOf(err), "log in: docker login 127.0.0.1:") {
		t.Errorf("without credentials: %v", err)
	}
	host := strings.TrimPrefix(server.URL, "http://")
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("reader:open")))
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Fetch(t.Context(), source, cache)
	if err != nil || c.Name != "store" || c.Version != "1.1.0" {
		t.Fatalf("chart %s %s, %v", c.Name, c.Version, err)
	}
	before := requests.Load()
	if again, err := Fetch(t.Context(), source, cache); err != nil || again.Digest != c.Digest || requests.Load() != before {
		t.Errorf("the second time: %v, %d requests", err, requests.Load()-before)
	}
	for _, one := range []struct {
		source      Source
		error, hint string
	}{
		{Source{Repo: server.URL, Name: "store", Version: "2.0.0"}, server.URL + ": there is no version 2.0.0 of chart store", "the versions there are: 1.1.0, 1.0.0"},
		{Source{Repo: server.URL, Name: "shop", Version: "1.0.0"}, "chart repository " + server.URL + `: there is no chart "shop"`, "the charts there are: store"},
	} {
		if _, err := Fetch(t.Context(), one.source, cache); err == nil || err.Error() != one.error || fault.HintOf(err) != one.hint {
			t.Errorf("error %v, hint %q", err, fault.HintOf(err))
		}
	}
	// Another archive than the index names, and no server at all.
	if err := os.Rename(filepath.Join(dir, "store-1.1.0.tgz"), filepath.Join(dir, "store-1.0.0.tgz")); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), Source{Repo: server.URL, Name: "store", Version: "1.0.0"}, ""); err == nil || !strings.Contains(err.Error(), "its digest differs") {
		t.Errorf("error %v", err)
	}
	server.Close()
	if _, err := Fetch(t.Context(), Source{Repo: server.URL, Name: "store", Version: "1.0.0"}, ""); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("error %v", err)
	}
}

// TestFetchFromRegistry: an OCI registry on this machine needs no TLS.
func TestFetchFromRegistry(t *testing.T) { //nolint:paralleltest // the Docker config is found by the environment
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(ocireg.New(ocireg.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP())
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(server.URL, "http://") + "/charts/store"
	for _, version := range []string{"1.0.0", "1.1.0+build.1"} {
		data, err := os.ReadFile(storeArchive(t, t.TempDir(), version))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Push(data, name+":"+version); err != nil {
			t.Fatal(err)
		}
	}
	cache := t.TempDir()
	c, err := Fetch(t.Context(), Source{OCI: "oci://" + name, Version: "1.1.0+build.1"}, cache)
	if err != nil || c.Version != "1.1.0+build.1" {
		t.Fatalf("chart %s, %v", c.Version, err)
	}
	_, err = Fetch(t.Context(), Source{OCI: "oci://" + name, Version: "3.0.0"}, cache)
	if err == nil || fault.HintOf(err) != "the versions there are: 1.1.0+build.1, 1.0.0" {
		t.Errorf("error %v, hint %q", err, fault.HintOf(err))
	}
	server.Close()
	if _, err := Fetch(t.Context(), Source{OCI: "oci://" + name, Version: "1.1.0+build.1"}, cache); err != nil {
		t.Errorf("from the cache: %v", err)
	}
	if _, err := Fetch(t.Context(), Source{OCI: "oci://" + name, Version: "1.0.0"}, cache); err == nil || !strings.Contains(err.Error(), "cannot be pulled") {
		t.Errorf("error %v", err)
	}
}

// TestMarked: claims of a StatefulSet are volumes of the project, and numbers stay what they are.
func TestMarked(t *testing.T) {
	t.Parallel()
	ns := "shop"
	source := storeFolder(t, "1.0.0")
	set := `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set, annotations: {big: "1", id: "00123"}}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {terminationGracePeriodSeconds: 9007199254740993, containers: []}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {}}]
`
	if err := os.WriteFile(filepath.Join(source, "templates", "set.yaml"), []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	fetched, err := Fetch(t.Context(), Source{Path: source}, "")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := Foreign{Service: "db", Release: "shop-db", Namespace: ns, Chart: fetched, Names: []string{"db"}}.render(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := documents(rel.Manifest)[Ref{"StatefulSet", "set"}]
	labels, _ := field(got, "spec.volumeClaimTemplates").([]any)[0].(map[string]any)["metadata"].(map[string]any)["labels"].(map[string]any)
	if diff := cmp.Diff(map[string]any{kube.ProjectLabel: ns, kube.ComponentLabel: "volume"}, labels); diff != "" {
		t.Errorf("labels of the claim (-want +got):\n%s", diff)
	}
	if !strings.Contains(rel.Manifest, "terminationGracePeriodSeconds: 9007199254740993\n") || !strings.Contains(rel.Manifest, `id: "00123"`) {
		t.Errorf("manifest:\n%s", rel.Manifest)
	}
	if claim := documents(rel.Manifest)[Ref{"PersistentVolumeClaim", "shop-db-store"}]; field(claim, "metadata.annotations").(map[string]any)["helm.sh/resource-policy"] != "keep" {
		t.Errorf("claim %v", claim)
	}
	objects, err := objectsIn(rel.Manifest)
	if err != nil || !slices.ContainsFunc(objects, isSecret) {
		t.Errorf("what is in a list is not found: %v", err)
	}
}

func isSecret(o runtime.Object) bool { _, ok := o.(*corev1.Secret); return ok }

// TestNothingOfIt: a service that is provided by a Secret alone has a release without objects, and what was there before goes.
func TestNothingOfIt(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "nothing"
	controllers(t, c, ns)
	w := Wanted{Project: "shop", Namespace: ns, Units: []Unit{unit(t, "db", deployment("db", "postgres:18", 1))}}
	if _, _, err := deploy(t, c, w); err != nil {
		t.Fatal(err)
	}
	w.Units = []Unit{unit(t, "db")}
	p, _, err := deploy(t, c, w)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := p.step("upgrade db"); s.Cause != "deployment db is no longer wanted" {
		t.Errorf("cause %q", s.Cause)
	}
	if _, err := c.Interface.AppsV1().Deployments(ns).Get(t.Context(), "db", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the deployment is left: %v", err)
	}
	if p, _, err = deploy(t, c, w); err != nil || p.Changes() {
		t.Errorf("once more: %v\n%s", err, p)
	}
}
