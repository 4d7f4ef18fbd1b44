package chart_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

var update = flag.Bool("update", false, "write what is exported into testdata")

// project is a Compose file as the objects that `perch up` makes of it.
func project(t *testing.T, o compose.Options) chart.Project {
	t.Helper()
	o.Environment, o.Embedded = map[string]string{}, true
	p, err := compose.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]render.Image{}
	for name, s := range p.Project.Services {
		ref := "docker.io/library/" + s.Image
		if s.Image == "" {
			ref = "docker.io/library/" + p.Name + "-" + name + ":1a2b3c4d5e6f"
		}
		images[name] = render.Image{Ref: ref}
	}
	out, err := render.Objects(p, images, render.Target{Namespace: p.Namespace, Embedded: true, LoadBalancer: true})
	if err != nil {
		t.Fatal(err)
	}
	project := chart.Project{Name: p.Name, Version: "1a2b3c4d5e6f", Namespace: p.Namespace, Volumes: out.Volumes}
	for _, u := range out.Units {
		part := chart.Part{Service: u.Service, Config: u.Config, Objects: u.Objects, Shell: u.Service == "postgres"}
		for _, job := range u.Migrations {
			part.Migrations = append(part.Migrations, runtime.Object(job))
		}
		for _, d := range u.DependsOn {
			part.DependsOn = append(part.DependsOn, d.Service)
		}
		project.Units = append(project.Units, part)
	}
	return project
}

// TestExport exports the reference application. go test -update ./internal/chart writes testdata anew, to be reviewed as
// what a person would own.
func TestExport(t *testing.T) {
	t.Parallel()
	files, err := chart.Export(project(t, compose.Options{WorkingDir: "../../examples/kube-native"}))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/chart", files)
}

// golden compares files with those of a folder.
func golden(t *testing.T, dir string, files []chart.File) {
	t.Helper()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			path := filepath.Join(dir, f.Name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	var there []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err := filepath.Rel(dir, path)
			there = append(there, name)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	slices.Sort(there)
	slices.Sort(names)
	if diff := cmp.Diff(there, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, f := range files {
		want, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err == nil && string(want) != string(f.Data) {
			t.Errorf("%s (-want +got):\n%s", f.Name, cmp.Diff(string(want), string(f.Data)))
		}
	}
}

// TestKustomize does the same for the kustomization.
func TestKustomize(t *testing.T) {
	t.Parallel()
	p := project(t, compose.Options{WorkingDir: "../../examples/kube-native"})
	p.Digests = map[string]string{"docker.io/library/postgres:15": "sha256:abc"}
	files, err := chart.Kustomize(p, []chart.Overlay{{
		Name: "prod", Namespace: "shop-prod", StorageClass: "fast", Replicas: map[string]int{"web": 5},
		Images: map[string]string{"docker.io/library/kube-native-web": "registry.example/acme/web"}, Overrides: []string{"compose.prod.yaml"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/kustomize", files)
}
