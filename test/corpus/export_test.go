package corpus

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/render"
)

// TestExported exports every file of the corpus, every shape of our own and the reference application, as a chart and as
// a kustomization: Helm lints it strictly, what comes out of it is what Perch would apply, and a real API server takes it.
func TestExported(t *testing.T) {
	all := awesome(t)
	for _, s := range shapes(t) {
		all = append(all, s.source)
	}
	example, err := filepath.Abs("../../examples/kube-native")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, source{name: "kube-native", dir: example, embedded: true})
	server := start(t)
	slog.SetDefault(slog.New(slog.DiscardHandler)) // Helm tells there what lint lets pass
	exported := 0
	for i, s := range all {
		r := convert(t.Context(), s)
		if r.refused != nil || len(r.output.Units) == 0 {
			continue
		}
		exported++
		t.Run(s.name, func(t *testing.T) {
			namespace := fmt.Sprintf("n%d", i)
			_, err := server.kubernetes.CoreV1().Namespaces().Create(t.Context(),
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			if err == nil { // no controller makes it here, and pods want it
				_, err = server.kubernetes.CoreV1().ServiceAccounts(namespace).Create(t.Context(),
					&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Run("chart", func(t *testing.T) { testExportedChart(t, server, namespace, r) })
			t.Run("kustomization", func(t *testing.T) { testExportedKustomization(t, server, namespace, r) })
		})
	}
	if exported < 70 {
		t.Errorf("%d were exported", exported)
	}
}

func testExportedChart(t *testing.T, server *api, namespace string, r result) {
	p := exportOf(r)
	files, err := chart.Export(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := written(t, files)
	linter := lint.RunAll(dir, nil, namespace)
	for _, m := range linter.Messages {
		if m.Severity > support.InfoSev {
			t.Errorf("lint: %s", m)
		}
	}
	if hasSecrets(p) {
		_, err := templated(dir, p.Namespace, nil)
		if err == nil || !strings.Contains(err.Error(), "is empty: give it a value, or name a Secret that has it in ") {
			t.Errorf("without secrets: %v", err)
		}
	}
	p.Secrets = true
	if files, err = chart.Export(p); err != nil {
		t.Fatal(err)
	}
	objects, err := templated(written(t, files), p.Namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.takes(t, namespace, objects)
	same(t, r, objects)
}

func testExportedKustomization(t *testing.T, server *api, namespace string, r result) {
	p := exportOf(r)
	p.Secrets = true
	files, err := chart.Kustomize(p, []chart.Overlay{{Name: "prod", Namespace: namespace, StorageClass: "fast"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := written(t, files)
	same(t, r, kustomized(t, filepath.Join(dir, "base")))
	server.takes(t, namespace, kustomized(t, filepath.Join(dir, "overlays", "prod")))
}

// exportOf is a result as package chart takes it.
func exportOf(r result) chart.Project {
	p := chart.Project{Name: r.project.Name, Namespace: r.project.Namespace, Volumes: r.output.Volumes}
	for _, u := range r.output.Units {
		part := chart.Part{Service: u.Service, Config: u.Config, Objects: u.Objects, Shell: true}
		for _, job := range u.Migrations {
			part.Migrations = append(part.Migrations, runtime.Object(job))
		}
		for _, d := range u.DependsOn {
			part.DependsOn = append(part.DependsOn, d.Service)
		}
		p.Units = append(p.Units, part)
	}
	return p
}

func hasSecrets(p chart.Project) bool {
	for _, u := range p.Units {
		for _, o := range u.Config {
			if s, ok := o.(*corev1.Secret); ok {
				for _, value := range s.Data {
					if len(value) > 0 {
						return true
					}
				}
			}
		}
	}
	return false
}

func written(t *testing.T, files []chart.File) string {
	t.Helper()
	dir := t.TempDir()
	if err := chart.Write(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// templated is what `helm install` would send, hooks included.
func templated(dir, release string, values map[string]any) ([]map[string]any, error) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: release, Namespace: release, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, options, nil)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		objects, err := documents(texts[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w in\n%s", name, err, texts[name])
		}
		out = append(out, objects...)
	}
	return out, nil
}

func kustomized(t *testing.T, dir string) []map[string]any {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := documents(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

var separator = regexp.MustCompile(`(?m)^---\n`)

func documents(text string) ([]map[string]any, error) {
	var all []map[string]any
	for _, document := range separator.Split(text, -1) {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			all = append(all, o)
		}
	}
	return all, nil
}

// takes sends objects to the server, which stores nothing.
func (a *api) takes(t *testing.T, namespace string, objects []map[string]any) {
	t.Helper()
	for _, o := range objects {
		under(o, "metadata")["namespace"] = namespace
		document, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.apply(t.Context(), string(document)); err != nil {
			t.Errorf("%v in\n%s", err, document)
		}
	}
}

// same holds objects against those that Perch would apply: the same, but for what docs/leaving.md names.
func same(t *testing.T, r result, objects []map[string]any) {
	t.Helper()
	var text []runtime.Object
	text = append(text, r.output.Volumes...)
	for _, u := range r.output.Units {
		text = append(text, u.Config...)
		for _, job := range u.Migrations {
			text = append(text, job)
		}
		text = append(text, u.Objects...)
	}
	data, err := render.YAML(unique(text))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := documents(string(data))
	if err != nil {
		t.Fatal(err)
	}
	objects = slices.DeleteFunc(slices.Clone(objects), func(o map[string]any) bool {
		return under(o, "metadata", "annotations")["helm.sh/hook"] == "test"
	})
	want, got := comparable(ours), comparable(objects)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-Perch's +exported:\n%s", diff)
	}
}

func under(o map[string]any, path ...string) map[string]any {
	for _, key := range path {
		next, ok := o[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			o[key] = next
		}
		o = next
	}
	return o
}

var (
	hashed   = regexp.MustCompile(`-[0-9a-z]{10}$`)
	numbered = regexp.MustCompile(`^file-([0-9]+)$`)
	ofCopy   = regexp.MustCompile(`(-hook)?(-\d+)?$`)
	dropped  = regexp.MustCompile(`^(perch\.dev/(service|project|component)|helm\.sh/.*|checksum/.*|argocd\.argoproj\.io/.*|kustomize\.toolkit\.fluxcd\.io/.*|app\.kubernetes\.io/(version|managed-by))$`)
)

// comparable are objects by kind and name, without what may differ: marks, hashes in names, and what makes a Job a hook.
// Config is known by what it holds.
func comparable(objects []map[string]any) map[string]any {
	out := map[string]any{}
	names := map[string]string{}
	for _, o := range objects {
		kind, meta := o["kind"].(string), under(o, "metadata")
		name := meta["name"].(string)
		if kind == "ConfigMap" || kind == "Secret" {
			asOne(o)
			data, err := yaml.Marshal([]any{o["data"], o["binaryData"]})
			if err != nil {
				panic(err)
			}
			base := ofCopy.ReplaceAllString(hashed.ReplaceAllString(name, ""), "")
			names[kind+"/"+name] = base + " with " + string(data)
			delete(o, "immutable")
		}
	}
	for _, o := range objects {
		kind, meta := o["kind"].(string), under(o, "metadata")
		name := meta["name"].(string)
		if known := names[kind+"/"+name]; known != "" {
			name = known
		}
		delete(meta, "namespace")
		if kind == "Job" {
			name = hashed.ReplaceAllString(name, "")
			if strings.Contains(name, "-pre-start-") {
				delete(under(o, "spec"), "ttlSecondsAfterFinished")
				under(o, "spec")["backoffLimit"] = "as it is waited for"
			}
		}
		meta["name"] = name
		plainly(o, "", names)
		out[kind+"/"+name] = o
	}
	return out
}

// asOne writes what a ConfigMap or Secret holds in one way: base64 without line breaks, keys without the word that keeps
// kustomize from taking them for numbers.
func asOne(o map[string]any) {
	for _, field := range []string{"data", "binaryData"} {
		all := map[string]any{}
		for key, value := range under(o, field) {
			if field == "binaryData" || o["kind"] == "Secret" {
				value = strings.Join(strings.Fields(value.(string)), "")
			}
			all[numbered.ReplaceAllString(key, "$1")] = value
		}
		o[field] = all
		if len(all) == 0 {
			delete(o, field)
		}
	}
}

// plainly takes out of v what may differ, and gives config the names that it is known by.
func plainly(v any, at string, names map[string]string) {
	kinds := map[string]string{
		"configMapRef": "ConfigMap", "configMap": "ConfigMap", "secretRef": "Secret", "secret": "Secret",
	}
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			plainly(one, at, names)
		}
	case map[string]any:
		if key, ok := v["key"].(string); ok {
			v["key"] = numbered.ReplaceAllString(key, "$1")
		}
		for key := range v {
			if (at == "labels" || at == "annotations") && dropped.MatchString(key) {
				delete(v, key)
			}
		}
		for _, key := range []string{"name", "secretName"} {
			if name, ok := v[key].(string); ok && kinds[at] != "" && names[kinds[at]+"/"+name] != "" {
				v[key] = names[kinds[at]+"/"+name]
			}
		}
		for key, one := range v {
			plainly(one, key, names)
			if m, ok := one.(map[string]any); ok && len(m) == 0 && (key == "annotations" || key == "labels" || key == "securityContext") {
				delete(v, key)
			}
		}
	}
}
