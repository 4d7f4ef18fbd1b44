package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

// finding is one object in kube-score's JSON.
type finding struct {
	Name   string `json:"object_name"`
	Checks []struct {
		Check    struct{ Name string }
		Grade    int // 1 critical, 5 warning, 7 nearly good, 10 good
		Skipped  bool
		Comments []struct{ Path, Summary, Description string }
	}
}

// TestKubeScore: a Compose file that says enough becomes objects that kube-score's default checks find nothing wrong with.
func TestKubeScore(t *testing.T) {
	t.Parallel()
	findings := score(t, objects(t))
	if len(findings) < 8 {
		t.Errorf("%d objects were looked at", len(findings))
	}
	for _, object := range findings {
		for _, c := range object.Checks {
			if c.Skipped || c.Grade >= 10 {
				continue
			}
			for _, comment := range c.Comments {
				t.Errorf("%s: %s, grade %d: %s: %s", object.Name, c.Check.Name, c.Grade, comment.Path, comment.Summary)
			}
		}
	}
}

// objects are the YAML of the Compose file in testdata.
func objects(t *testing.T) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	project, err := compose.Load(t.Context(), compose.Options{
		WorkingDir: dir + "/testdata", Environment: map[string]string{"PASSWORD": "s3cret"}, Embedded: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	image := func(ref string) render.Image {
		return render.Image{
			Ref: ref, Config: &ocispec.ImageConfig{User: "app"}, UID: new(int64(10001)), GID: new(int64(10001)), Shell: true,
			Content: map[string]render.Content{"/scratch": {Exists: true, Filled: true}},
		}
	}
	images := map[string]render.Image{
		"web": image("registry.example/web:1.4.2"), "database": image("registry.example/database:17.2"), "job/report": image("registry.example/web:1.4.2"),
	}
	out, err := render.Objects(project, images, render.Target{Namespace: "rich", Embedded: true, LoadBalancer: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range out.Notes {
		t.Errorf("a note: %s: %s", n.Path, n.Text)
	}
	all := slices.Clone(out.Volumes)
	for _, u := range out.Units {
		all = append(append(all, u.Config...), u.Objects...)
	}
	text, err := render.YAML(append([]runtime.Object{}, all...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// score runs kube-score, which go builds from tools/go.mod the first time (a minute) and keeps in its cache.
func score(t *testing.T, objects []byte) []finding {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "-C", "../../tools", "tool", "kube-score", "score", "--kubernetes-version", "v1.32", "--output-format", "json", "-")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	c.Stdin = bytes.NewReader(objects)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && len(out) > 0) { // it exits with 1 when it finds something
		t.Fatalf("%s: %v\n%s", c, err, stderr.String())
	}
	var findings []finding
	if err := json.Unmarshal(out, &findings); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return findings
}
