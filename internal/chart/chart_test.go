package chart_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/chart"
)

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Data:       map[string]string{"key": value},
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	c, err := chart.New("shop-web", "v1.2", []runtime.Object{configMap("b", "{{ .Values.x }} and }}"), configMap("a", "plain")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range c.Files {
		names = append(names, f.Name)
	}
	want := []string{"Chart.yaml", "templates/configmap-a.yaml", "templates/configmap-b.yaml"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// Braces reach the cluster as they are: each pair is a template that prints itself.
	template := "apiVersion: v1\ndata:\n  key: '{{`{{`}} .Values.x {{`}}`}} and {{`}}`}}'\nkind: ConfigMap\nmetadata:\n  name: b\n"
	if diff := cmp.Diff(template, string(c.Files[2].Data)); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(c.Version, "0.1.0+") || c.Version != "0.1.0+"+c.Digest[:12] {
		t.Errorf("version %q does not name digest %q", c.Version, c.Digest)
	}
	if !bytes.Contains(c.Files[0].Data, []byte("appVersion: v1.2\n")) {
		t.Errorf("Chart.yaml:\n%s", c.Files[0].Data)
	}
}

// TestTemplatesPrintThemselves runs the templates as Helm does: what comes out is what went in.
func TestTemplatesPrintThemselves(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"{{ x }}", "{{`a`}}", "}}{{", "{{{", "}}}", "{{- if }}\n{{/* c */}}\n", "plain", "a\nb {{ c\n"} {
		c, err := chart.New("r", "", []runtime.Object{configMap("a", value)})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := template.New("t").Parse(string(c.Files[1].Data))
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, nil); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		var got corev1.ConfigMap
		if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		if got.Data["key"] != value {
			t.Errorf("%q came out as %q", value, got.Data["key"])
		}
	}
}

// TestDigest: what is deployed decides, not what the application calls its version, nor the order of the objects.
func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(version string, objects ...runtime.Object) string {
		c, err := chart.New("r", version, objects)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest
	}
	base := digest("1", configMap("a", "x"), configMap("b", "y"))
	if got := digest("2", configMap("b", "y"), configMap("a", "x")); got != base {
		t.Errorf("another version or order changed the digest")
	}
	if got := digest("1", configMap("a", "x"), configMap("b", "z")); got == base {
		t.Errorf("another value did not change the digest")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string][]runtime.Object{
		"two objects are called configmap-a": {configMap("a", "x"), configMap("a", "y")},
		"no kind or no name":                 {&corev1.ConfigMap{}},
	}
	for want, objects := range cases {
		if _, err := chart.New("r", "", objects); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	c, err := chart.New("r", "", []runtime.Object{configMap("a", "x")})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "r")
	if err := c.Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || !bytes.Equal(data, f.Data) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
