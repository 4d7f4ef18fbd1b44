package image

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

func service(name, image string, b *types.BuildConfig) types.ServiceConfig {
	s := types.ServiceConfig{Name: name}
	s.Image, s.Build = image, b
	return s
}

func TestPlan(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "", "api/Dockerfile": ""})
	build := func(sub string, contexts types.Mapping) *types.BuildConfig {
		return &types.BuildConfig{Context: dir + sub, AdditionalContexts: contexts}
	}
	tests := map[string]struct {
		services []types.ServiceConfig
		asked    []string
		want     []string // "ID: keys < parents", or an error
	}{
		"equal builds and names are one": {
			services: []types.ServiceConfig{
				service("web", "", build("", nil)), service("worker", "", build("", nil)),
				service("db", "postgres:17", nil), service("db2", "docker.io/library/postgres:17", nil),
			},
			want: []string{"image web: shop-web=web shop-worker=worker", "image db: postgres:17=db,db2"},
		},
		"a name that is built here is not looked up": {
			services: []types.ServiceConfig{service("web", "acme/web", build("", nil)), service("a", "acme/web:latest", nil)},
			want:     []string{"image web: acme/web=web,a"},
		},
		"an image that only a service left out builds": {
			services: []types.ServiceConfig{service("web", "acme/web:1", build("", nil)), service("a", "acme/web:1", nil)},
			asked:    []string{"a"},
			want:     []string{"image web: acme/web=a"},
		},
		"only what is asked for": {
			services: []types.ServiceConfig{service("web", "", build("", nil)), service("worker", "", build("", nil)), service("db", "postgres:17", nil)},
			asked:    []string{"worker"},
			want:     []string{"image worker: shop-worker=worker"},
		},
		"a broken build that is not asked for": {
			services: []types.ServiceConfig{service("web", "", build("/none", nil)), service("worker", "", build("", nil))},
			asked:    []string{"worker"},
			want:     []string{"image worker: shop-worker=worker"},
		},
		"a build that another one needs": {
			services: []types.ServiceConfig{service("web", "", build("", types.Mapping{"x": "service:zapi"})), service("zapi", "", build("/api", nil))},
			asked:    []string{"web"},
			want:     []string{"image zapi: shop-zapi=", "image web: shop-web=web < image zapi"},
		},
		"builds that need each other": {
			services: []types.ServiceConfig{
				service("a", "", build("", types.Mapping{"x": "service:b"})), service("b", "", build("/api", types.Mapping{"x": "service:a"})),
			},
			want: []string{`service "a": its image is built from itself`},
		},
		"a context of a service that is not built": {
			services: []types.ServiceConfig{service("a", "", build("", types.Mapping{"x": "service:b"})), service("b", "b:1", nil)},
			want:     []string{`service "a": additional context "x": service "b" is not built here`},
		},
		"neither image nor build": {
			services: []types.ServiceConfig{service("a", "", nil)},
			want:     []string{`service "a" has neither image nor build`},
		},
		"no such service": {
			services: []types.ServiceConfig{service("a", "b", nil)}, asked: []string{"c"},
			want: []string{`no such service: "c"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &types.Project{Name: "shop", WorkingDir: dir, Services: types.Services{}}
			for _, s := range tt.services {
				p.Services[s.Name] = s
			}
			tasks, err := plan(Options{Project: p, Services: tt.asked})
			got := []string{}
			if err != nil {
				got = append(got, err.Error())
			}
			for _, task := range tasks {
				line := task.id + ": " + namesOf(task)
				for _, parent := range task.parents {
					line += " < " + parent.id
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func namesOf(t *task) string {
	var out []string
	for _, n := range t.names {
		out = append(out, familiar(n.name)+"="+strings.Join(n.keys, ","))
	}
	return strings.Join(out, " ")
}

func TestNames(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"postgres":                   "docker.io/library/postgres:latest",
		"postgres:17":                "docker.io/library/postgres:17",
		"acme/web:1":                 "docker.io/acme/web:1",
		"localhost:5000/web":         "localhost:5000/web:latest",
		"postgres:17@" + digest:      "docker.io/library/postgres@" + digest, // the CRI drops the tag too
		"registry.example.org/a/b:c": "registry.example.org/a/b:c",
	} {
		if got, err := normalize(in); got != want || err != nil {
			t.Errorf("normalize(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	dir := tree(t, map[string]string{"Dockerfile": ""})
	for in, want := range map[string][2]string{
		"":                       {"docker.io/library/my-shop-web", ""},
		"acme/web":               {"docker.io/acme/web", ""},
		"acme/web:latest":        {"docker.io/acme/web", ""},
		"acme/web:1.2":           {"docker.io/acme/web", "docker.io/acme/web:1.2"},
		"localhost:5000/web:1.2": {"localhost:5000/web", "localhost:5000/web:1.2"},
	} {
		r, err := newRecipe(builtAs(in, dir), &types.Project{Name: "my-shop", WorkingDir: dir}, Registry{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, [2]string{r.repository, r.alias}); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
}

func builtAs(image, dir string) want {
	return want{key: "web", name: image, build: &types.BuildConfig{Context: dir}}
}
