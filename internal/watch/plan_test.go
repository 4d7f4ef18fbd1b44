package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

// project loads a Compose file with these other files beside it, and returns its folder.
func project(t *testing.T, yaml string, files map[string]string) (*compose.Project, string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files["compose.yaml"] = yaml
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Embedded: true})
	if err != nil {
		t.Fatal(err)
	}
	return p, dir
}

const manyRules = `name: shop
services:
  web:
    build: .
    develop:
      watch:
        - {action: sync, path: ./src, target: /app/src, ignore: ["*.tmp", "cache/"]}
        - {action: rebuild, path: ./go.mod}
        - {action: sync+restart, path: ./conf/app.conf, target: /etc/app.conf}
        - {action: sync+exec, path: ./assets, target: /srv, include: ["*.css", "img/**"], exec: {command: make css}}
        - {action: restart, path: ./tls}
  worker:
    image: busybox
    develop:
      watch:
        - {action: sync, path: ./src, target: /w}
`

func TestPlan(t *testing.T) {
	t.Parallel()
	p, dir := project(t, manyRules, map[string]string{
		"Dockerfile": "FROM scratch", "go.mod": "", "conf/app.conf": "", "src/a.go": "", "assets/x.css": "", "tls/key": "",
		".dockerignore": "src/vendor\n**/*.log\n!src/keep.log\n",
	})
	rules, warnings, err := Rules(p, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	sync := func(pairs ...string) (files []File) {
		for i := 0; i < len(pairs); i += 2 {
			files = append(files, File{filepath.Join(dir, pairs[i]), pairs[i+1]})
		}
		return files
	}
	for name, c := range map[string]struct {
		changed []string
		want    []Work
	}{
		"nothing of ours": {[]string{"README.md", "conf/other.conf"}, nil},
		"two services": {[]string{"src/a.go", "src/b/c.go"}, []Work{
			{Service: "web", Sync: sync("src/a.go", "/app/src/a.go", "src/b/c.go", "/app/src/b/c.go")},
			{Service: "worker", Sync: sync("src/a.go", "/w/a.go", "src/b/c.go", "/w/b/c.go")},
		}},
		"the folder itself": {[]string{"src"}, []Work{
			{Service: "web", Sync: sync("src", "/app/src")}, {Service: "worker", Sync: sync("src", "/w")},
		}},
		"ignored by the rule, for it alone": {[]string{"src/x.tmp", "src/cache/y"}, []Work{
			{Service: "worker", Sync: sync("src/cache/y", "/w/cache/y", "src/x.tmp", "/w/x.tmp")},
		}},
		"ignore is relative to the path": {[]string{"src/sub/x.tmp"}, []Work{
			{Service: "web", Sync: sync("src/sub/x.tmp", "/app/src/sub/x.tmp")},
			{Service: "worker", Sync: sync("src/sub/x.tmp", "/w/sub/x.tmp")},
		}},
		"dockerignore of the one that is built": {[]string{"src/vendor/m.go", "src/keep.log", "src/a.log"}, []Work{
			{Service: "web", Sync: sync("src/keep.log", "/app/src/keep.log")},
			{Service: "worker", Sync: sync("src/a.log", "/w/a.log", "src/keep.log", "/w/keep.log", "src/vendor/m.go", "/w/vendor/m.go")},
		}},
		"git and editors": {[]string{
			"src/.git/HEAD", "src/.a.go.swp", "src/a.go~", "src/4913", "src/.#a.go", "src/#a.go#", "src/.idea/w.xml", "src/a.go___jb_tmp___",
		}, nil},
		"rebuild takes the place of restart": {[]string{"go.mod", "tls/key"}, []Work{{Service: "web", Rebuild: true}}},
		"restart":                            {[]string{"tls/key", "tls/cert"}, []Work{{Service: "web", Restart: true}}},
		"one file, sync+restart": {[]string{"conf/app.conf"}, []Work{
			{Service: "web", Sync: sync("conf/app.conf", "/etc/app.conf"), Restart: true},
		}},
		"include, and the command once": {[]string{"assets/x.css", "assets/y.css", "assets/z.js", "assets/img/deep/l.png"}, []Work{
			{Service: "web", Sync: sync("assets/img/deep/l.png", "/srv/img/deep/l.png", "assets/x.css", "/srv/x.css", "assets/y.css", "/srv/y.css"), Exec: []int{3}},
		}},
		"like-named neighbour": {[]string{"srcs/a.go", "go.model"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changed []string
			for _, c := range c.changed {
				changed = append(changed, filepath.Join(dir, c))
			}
			got := Plan(rules, changed)
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	a := Work{Service: "web", Sync: []File{{"/a", "/t/a"}}, Restart: true, Exec: []int{2}}
	b := Work{Service: "web", Rebuild: true, Sync: []File{{"/b", "/t/b"}, {"/a", "/t/a"}}, Exec: []int{1, 2}}
	want := Work{Service: "web", Rebuild: true, Sync: []File{{"/a", "/t/a"}, {"/b", "/t/b"}}, Exec: []int{1, 2}}
	if diff := cmp.Diff(want, a.merge(b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSkips(t *testing.T) {
	t.Parallel()
	p, dir := project(t, `services:
  web:
    build: .
    develop: {watch: [{action: sync, path: ./src, target: /app, ignore: [node_modules/]}]}
  api:
    image: api
    develop: {watch: [{action: sync, path: ./src, target: /app, ignore: ["node_modules", "!node_modules/own"]}]}
`, map[string]string{"Dockerfile": "", "src/a": ""})
	rules, _, err := Rules(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]map[string]bool{
		"src/node_modules":       {"web": true, "api": false},
		"src/lib/node_modules":   {"web": false, "api": false},
		"src/node_modules/x":     {"web": true, "api": false},
		"src":                    {"web": false, "api": false},
		".":                      {"web": false, "api": false},
		"other":                  {"web": true, "api": true},
		"src/.git":               {"web": true, "api": true},
		"src/.git/objects/pack1": {"web": true, "api": true},
	} {
		for _, r := range rules {
			if got := r.skips(filepath.Join(dir, name)); got != want[r.Service] {
				t.Errorf("%s skips %s: %t", r.Service, name, got)
			}
		}
	}
}

func TestRulesWrong(t *testing.T) {
	t.Parallel()
	p, dir := project(t, `services:
  web:
    image: web
    develop:
      watch:
        - action: sync
          path: ./missing
          target: /app
        - action: rebuild
          path: .
        - action: sync
          path: .
        - action: sync+exec
          path: .
          target: /app
        - action: sync+exec
          path: .
          target: /app
          exec: {command: reload, user: nobody}
        - action: restart
          path: .
          ignore: ["[a"]
`, map[string]string{})
	_, _, err := Rules(p, nil)
	if err == nil {
		t.Fatal("no error")
	}
	want := `compose.yaml:7: service "web": develop.watch[0]: there is no DIR/missing
compose.yaml:9: service "web": develop.watch[1]: rebuild, but the service has no build
compose.yaml:11: service "web": develop.watch[2]: sync needs a target
compose.yaml:13: service "web": develop.watch[3]: sync+exec without a command
compose.yaml:19: service "web": develop.watch[4]: user "nobody": Kubernetes executes commands as the user of the container
compose.yaml:22: service "web": develop.watch[5]: syntax error in pattern`
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), dir, "DIR")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRulesNone(t *testing.T) {
	t.Parallel()
	p, _ := project(t, `services:
  web: {image: web}
  api: {image: api, develop: {watch: [{action: restart, path: .}]}}
`, map[string]string{})
	for _, c := range []struct {
		services []string
		want     string
	}{
		{nil, ""},
		{[]string{"api", "web"}, ""},
		{[]string{"web"}, `nothing to watch: service "web" is without develop.watch`},
	} {
		_, _, err := Rules(p, c.services)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %q", c.services, got)
		}
	}
}

// TestRulesBound leaves out what a bind mount brings anyway.
func TestRulesBound(t *testing.T) {
	t.Parallel()
	p, dir := project(t, `services:
  web:
    image: web
    volumes: ["./src:/app:ro"]
    develop: {watch: [{action: sync, path: ./src, target: /app}, {action: restart, path: ./src}]}
`, map[string]string{"src/a": "x"})
	rules, warnings, err := Rules(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != 1 || rules[0].Action != "restart" {
		t.Errorf("the rules are %v", rules)
	}
	want := `compose.yaml:5: service "web": develop.watch[0]: DIR/src is mounted by a volume, so it is not synced`
	if got := strings.ReplaceAll(warnings.Error(), dir, "DIR"); got != want {
		t.Errorf("the warning is %q", got)
	}
}
