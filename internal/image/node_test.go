package image_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
	"github.com/perch-k8s/perch/internal/progress"
)

func TestMain(m *testing.M) { os.Exit(imagetest.Main(m)) }

func store(n *imagetest.Node) image.Store {
	return image.Store{Containerd: n.Containerd, Builder: n.Builder}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func project(dir string, services map[string]types.BuildConfig) *types.Project {
	p := &types.Project{Name: "shop", WorkingDir: dir, Services: types.Services{}, Environment: types.Mapping{}}
	for name, b := range services {
		s := types.ServiceConfig{Name: name}
		s.Build = &b
		p.Services[name] = s
	}
	return p
}

func TestBuild(t *testing.T) {
	n := imagetest.Start(t)
	s := store(n)
	ctx := t.Context()
	names, err := s.Load(ctx, bytes.NewReader(imagetest.BaseImage(t, "base:1")))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(names)
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"Dockerfile": "FROM base:1\nCOPY a.txt /\nRUN cat /a.txt > /b.txt\nEXPOSE 80\n", "a.txt": "hello\n"})
	resolve := func() map[string]image.Image {
		t.Helper()
		out, err := image.Resolve(ctx, image.Options{Project: project(dir, map[string]types.BuildConfig{"web": {Context: dir, Dockerfile: "Dockerfile"}})}, s,
			progress.Func(func(e progress.Event) { t.Log(e.ID, e.Status, e.Text, e.Current, e.Total) }))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Log(resolve())
	t.Log(resolve())
	l, err := s.List(context.Background())
	t.Log(l, err)
}
