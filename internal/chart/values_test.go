package chart_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
)

// loaded is an exported chart as Helm reads it.
func loaded(t *testing.T, p chart.Project) *chartv2.Chart {
	t.Helper()
	files, err := chart.Export(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := chart.Write(dir, files); err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rendered are the templates of a chart by file, with values as YAML.
func rendered(t *testing.T, c *chartv2.Chart, upgrade bool, values string) (map[string]string, error) {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		t.Fatal(err)
	}
	options := common.ReleaseOptions{Name: "mine", Namespace: "there", Revision: 1, IsInstall: !upgrade, IsUpgrade: upgrade}
	all, err := chartutil.ToRenderValues(c, v, options, nil)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(c, all)
	out := map[string]string{}
	for name, text := range texts {
		_, file, _ := strings.Cut(name, "/templates/")
		out[file] = text
	}
	return out, err
}

const secrets = "{web: {secretEnv: {DATABASE_URL: b}}, postgres: {secretEnv: {POSTGRES_PASSWORD: a}}}"

// TestValues gives values to the chart of the reference application, one change at a time.
func TestValues(t *testing.T) {
	t.Parallel()
	c := loaded(t, project(t, compose.Options{WorkingDir: "../../examples/kube-native"}))
	cases := map[string]struct {
		values  string
		upgrade bool
		file    string
		has     string // text in the file; "": the file is empty
		err     string
	}{
		"an image by digest":          {values: "{web: {image: {digest: sha256:abc}}}", file: "web/deployment.yaml", has: "kube-native-web:1a2b3c4d5e6f@sha256:abc\""},
		"a migration has it too":      {values: "{web: {image: {tag: new}}}", file: "web/job-pre-start-0.yaml", has: "kube-native-web:new\""},
		"replicas":                    {values: "{web: {replicas: 5}}", file: "web/deployment.yaml", has: "replicas: 5\n"},
		"one replica has no budget":   {values: "{web: {replicas: 1}}", file: "web/poddisruptionbudget.yaml"},
		"no resources":                {values: "{postgres: {resources: null}}", file: "postgres/statefulset.yaml", has: "name: postgres\n"},
		"a variable more":             {values: `{web: {env: {MORE: "1"}}}`, file: "web/configmap-env.yaml", has: `"MORE": "1"`},
		"a migration reads it":        {values: `{web: {env: {MORE: "1"}}}`, file: "hooks/web-env-hook.yaml", has: `"MORE": "1"`},
		"a Secret that is there":      {values: "{web: {existingSecret: mine}}", file: "web/deployment.yaml", has: `name: "mine"`},
		"ours may lack what it has":   {values: `{web: {existingSecret: mine, secretEnv: {DATABASE_URL: ""}}}`, file: "web/deployment.yaml", has: `name: "mine"`},
		"it is instead of ours":       {values: "{web: {existingSecret: mine}}", file: "web/secret-env.yaml"},
		"a claim that is there":       {values: "{persistence: {postgresData: {existingClaim: old}}}", file: "postgres/statefulset.yaml", has: `claimName: "old"`},
		"a class of storage":          {values: "{persistence: {postgresData: {storageClass: fast}}}", file: "persistentvolumeclaim-postgres-data.yaml", has: `storageClassName: "fast"`},
		"data that is kept":           {values: "{persistence: {postgresData: {keep: true}}}", file: "persistentvolumeclaim-postgres-data.yaml", has: "helm.sh/resource-policy: keep"},
		"a type of Service":           {values: "{web: {service: {type: NodePort}}}", file: "web/service-published.yaml", has: "type: NodePort"},
		"tolerations":                 {values: "{web: {tolerations: [{operator: Exists}]}}", file: "web/deployment.yaml", has: "- operator: Exists"},
		"an install tries again":      {file: "web/job-pre-start-0.yaml", has: "backoffLimit: 6"},
		"an upgrade does not":         {upgrade: true, file: "web/job-pre-start-0.yaml", has: "backoffLimit: 0"},
		"no migration":                {values: "{migrations: {enabled: false}}", file: "web/job-pre-start-0.yaml"},
		"the instance is the release": {file: "web/service.yaml", has: `app.kubernetes.io/instance: "mine"`},
		"a misspelt value":            {values: "{web: {replica: 5}}", err: "replica"},
		"a number where words belong": {values: "{web: {env: {PORT: 80}}}", err: "want string"},
		"replicas below none":         {values: "{web: {replicas: -1}}", err: "replicas"},
		"a secret that is empty":      {values: `{web: {secretEnv: {DATABASE_URL: ""}}}`, err: "web.secretEnv.DATABASE_URL is empty"},
		"a label more":                {values: "{web: {podLabels: {odd: \"1\"}}}", file: "web/deployment.yaml", has: `odd: "1"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both := map[string]any{}
			for _, text := range []string{secrets, tc.values} {
				var v map[string]any
				if err := yaml.Unmarshal([]byte(text), &v); err != nil {
					t.Fatal(err)
				}
				laidOver(both, v)
			}
			values, err := yaml.Marshal(both)
			if err != nil {
				t.Fatal(err)
			}
			files, err := rendered(t, c, tc.upgrade, string(values))
			switch {
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			case tc.has == "" && strings.TrimSpace(files[tc.file]) != "", !strings.Contains(files[tc.file], tc.has):
				t.Errorf("want %q in %s:\n%s", tc.has, tc.file, files[tc.file])
			}
		})
	}
}

func laidOver(under, over map[string]any) {
	for key, value := range over {
		below, ok := under[key].(map[string]any)
		above, both := value.(map[string]any)
		if ok && both {
			laidOver(below, above)
			continue
		}
		under[key] = value
	}
}

// TestConfigRolls: pods roll when what they read changes, and not when the chart only has another version.
func TestConfigRolls(t *testing.T) {
	t.Parallel()
	c := loaded(t, project(t, compose.Options{WorkingDir: "../../examples/kube-native"}))
	deployment := func(values string) string {
		files, err := rendered(t, c, false, values)
		if err != nil {
			t.Fatal(err)
		}
		_, template, _ := strings.Cut(files["web/deployment.yaml"], "  template:")
		return template
	}
	base := deployment(secrets)
	if deployment(strings.Replace(secrets, "b}", "c}", 1)) == base {
		t.Error("another secret rolls nothing")
	}
	c.Metadata.Version, c.Metadata.AppVersion = "0.2.0", "another"
	if deployment(secrets) != base {
		t.Error("another version of the chart rolls the pods")
	}
}

// TestHosts: an Ingress has its names, class and certificates by values.
func TestHosts(t *testing.T) {
	t.Parallel()
	prefix := networkingv1.PathTypePrefix
	rule := func(host string) networkingv1.IngressRule {
		return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}},
		}}}
	}
	c := loaded(t, chart.Project{Name: "shop", Namespace: "shop", Units: []chart.Part{{Service: "web", Objects: []runtime.Object{
		&networkingv1.Ingress{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec:       networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{rule("a.example"), rule("b.example")}},
		},
		&corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		},
	}}}})
	files, err := rendered(t, c, false, "{web: {ingress: {className: nginx, hosts: [c.example], tls: [{hosts: [c.example], secretName: cert}]}}}")
	if err != nil {
		t.Fatal(err)
	}
	var got networkingv1.Ingress
	if err := yaml.UnmarshalStrict([]byte(files["web/ingress.yaml"]), &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Spec; len(s.Rules) != 1 || s.Rules[0].Host != "c.example" || s.Rules[0].HTTP.Paths[0].Backend.Service.Name != "web" ||
		*s.IngressClassName != "nginx" || s.TLS[0].SecretName != "cert" {
		t.Errorf("it is\n%s", files["web/ingress.yaml"])
	}
	if !strings.Contains(files["NOTES.txt"], "https://c.example/") {
		t.Errorf("the notes are\n%s", files["NOTES.txt"])
	}
	if files, err = rendered(t, c, false, "{web: {ingress: {enabled: false}}}"); err != nil || strings.TrimSpace(files["web/ingress.yaml"]) != "" {
		t.Errorf("without it, there is\n%s%v", files["web/ingress.yaml"], err)
	}
}

// TestPinned: what a registry has is named by its digest.
func TestPinned(t *testing.T) {
	t.Parallel()
	p := project(t, compose.Options{WorkingDir: "../../examples/kube-native"})
	p.Digests = map[string]string{"docker.io/library/postgres:15": "sha256:abc"}
	files, err := rendered(t, loaded(t, p), false, secrets)
	if err != nil || !strings.Contains(files["postgres/statefulset.yaml"], `image: "docker.io/library/postgres:15@sha256:abc"`) {
		t.Errorf("%v: %s", err, files["postgres/statefulset.yaml"])
	}
}
