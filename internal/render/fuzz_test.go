package render_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/render"
)

// FuzzLoadAndRender feeds anything as a Compose file: it is refused with an error that can be shown, or it is rendered,
// and the second time the bytes are the same.
func FuzzLoadAndRender(f *testing.F) {
	for _, pattern := range []string{"testdata/*.txtar", "../compose/testdata/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				f.Fatal(err)
			}
			for _, one := range archive.Files {
				if one.Name == "compose.yaml" {
					f.Add(one.Data)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		first, second := rendered(t, dir), rendered(t, dir)
		if !bytes.Equal(first, second) {
			t.Errorf("the same file gave other bytes:\n%s\n%s", first, second)
		}
	})
}

func rendered(t *testing.T, dir string) []byte {
	t.Helper()
	project, err := compose.Load(t.Context(), compose.Options{
		WorkingDir: dir, ProjectName: "fuzz", Environment: map[string]string{}, Embedded: true,
	})
	var problems compose.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			if p.Message == "" {
				t.Errorf("a problem without a message: %+v", p)
			}
		}
		return []byte(err.Error())
	}
	if fault.KindOf(err) == fault.ComposeFile {
		return []byte(err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := render.Objects(project, anyImages(project), render.Target{Namespace: "fuzz", Embedded: true, LoadBalancer: true})
	if err != nil {
		return []byte(err.Error())
	}
	all := append([]runtime.Object{}, out.Volumes...)
	for _, u := range out.Units {
		if !slices.IsSortedFunc(u.Objects, func(a, b runtime.Object) int { return strings.Compare(nameOf(t, a), nameOf(t, b)) }) {
			t.Errorf("the objects of %q are not sorted", u.Service)
		}
		all = append(append(all, u.Config...), u.Objects...)
		for _, m := range u.Migrations {
			all = append(all, m)
		}
	}
	text, err := render.YAML(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// anyImages are images that say much, for every second service: the others are not known.
func anyImages(project *compose.Project) map[string]render.Image {
	images := map[string]render.Image{}
	for i, name := range slices.Sorted(maps.Keys(project.Project.Services)) {
		if i%2 == 1 {
			continue
		}
		image := render.Image{
			Ref: "x:1", UID: new(int64(i)), Shell: true, Content: map[string]render.Content{},
			Health: &types.HealthCheckConfig{Test: []string{"CMD", "check"}},
			Config: &ocispec.ImageConfig{
				User: "app", StopSignal: "SIGQUIT", Cmd: []string{"run"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/v": {}},
			},
		}
		for _, v := range project.Project.Services[name].Volumes {
			image.Content[path.Clean(v.Target)] = render.Content{Exists: true, Filled: true, UID: 5}
		}
		images[name] = image
	}
	return images
}

func nameOf(t *testing.T, o runtime.Object) string {
	t.Helper()
	named, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + named.GetName()
}
