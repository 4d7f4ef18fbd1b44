package compose_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// folder is a new folder with these files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My_Shop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, o compose.Options) *compose.Project {
	t.Helper()
	p, err := compose.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const one = "services: {web: {image: one}}\n"
const two = "services: {web: {image: two}}\n"

func TestDiscovery(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files map[string]string
		below string // where the search starts
		given []string
		env   map[string]string
		want  string // image of web
	}{
		"preferred name":       {files: map[string]string{"compose.yaml": one, "docker-compose.yml": two}, want: "one"},
		"old name":             {files: map[string]string{"docker-compose.yml": two}, want: "two"},
		"in a parent":          {files: map[string]string{"compose.yml": one, "a/b/x": ""}, below: "a/b", want: "one"},
		"override":             {files: map[string]string{"compose.yaml": one, "compose.override.yaml": two}, want: "two"},
		"given":                {files: map[string]string{"compose.yaml": one, "other.yaml": two}, given: []string{"other.yaml"}, want: "two"},
		"several given":        {files: map[string]string{"compose.yaml": one, "other.yaml": two}, given: []string{"other.yaml", "compose.yaml"}, want: "one"},
		"COMPOSE_FILE":         {files: map[string]string{"a.yaml": one, "b.yaml": two}, env: map[string]string{"COMPOSE_FILE": "a.yaml:b.yaml"}, want: "two"},
		"COMPOSE_FILE in .env": {files: map[string]string{"compose.yaml": one, "b.yaml": two, ".env": "COMPOSE_FILE=b.yaml"}, want: "two"},
		"given over the environment": {
			files: map[string]string{"a.yaml": one, "b.yaml": two}, given: []string{"a.yaml"}, env: map[string]string{"COMPOSE_FILE": "b.yaml"}, want: "one",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, c.files)
			p := load(t, compose.Options{WorkingDir: filepath.Join(dir, c.below), Files: c.given, Environment: c.env})
			if got := p.Project.Services["web"].Image; got != c.want {
				t.Errorf("image %q, want %q", got, c.want)
			}
		})
	}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	_, err := compose.Load(t.Context(), compose.Options{WorkingDir: t.TempDir()})
	if fault.KindOf(err) != fault.ComposeFile || fault.HintOf(err) == "" || !strings.Contains(err.Error(), "no compose.yaml in ") {
		t.Errorf("error %v, hint %q", err, fault.HintOf(err))
	}
}

func TestStdin(t *testing.T) {
	t.Parallel()
	p := load(t, compose.Options{WorkingDir: t.TempDir(), Files: []string{"-"}, Stdin: strings.NewReader(one), ProjectName: "x"})
	if got := p.Project.Services["web"].Image; got != "one" {
		t.Errorf("image %q", got)
	}
	_, err := compose.Load(t.Context(), compose.Options{WorkingDir: t.TempDir(), Files: []string{"-"}, Stdin: strings.NewReader("services: {web: {imag: x}}")})
	if want := `<stdin>:1: service "web": unknown key "imag"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestProjectName: -p, COMPOSE_PROJECT_NAME, name:, the folder, in this order.
func TestProjectName(t *testing.T) {
	t.Parallel()
	named := "name: in_file\n" + one
	cases := map[string]struct {
		file, flag, env, want, namespace string
	}{
		"folder":      {file: one, want: "my_shop", namespace: "my-shop"},
		"file":        {file: named, want: "in_file", namespace: "in-file"},
		"environment": {file: named, env: "from-env", want: "from-env", namespace: "from-env"},
		"flag":        {file: named, env: "from-env", flag: "from-flag", want: "from-flag", namespace: "from-flag"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := compose.Options{WorkingDir: folder(t, map[string]string{"compose.yaml": c.file}), ProjectName: c.flag, Environment: map[string]string{}}
			if c.env != "" {
				o.Environment["COMPOSE_PROJECT_NAME"] = c.env
			}
			p := load(t, o)
			if p.Name != c.want || p.Namespace != c.namespace {
				t.Errorf("name %q, namespace %q; want %q, %q", p.Name, p.Namespace, c.want, c.namespace)
			}
		})
	}
}

// TestEnvironment: what the caller has set wins over .env, environment: over env_file:, and nothing is read from the
// process.
func TestEnvironment(t *testing.T) {
	t.Setenv("FROM_PROCESS", "must not be seen")
	dir := folder(t, map[string]string{
		".env":    "A=dotenv\nB=dotenv\n",
		"web.env": "C=file\nD=file\nE='multi\nline'\n",
		"compose.yaml": `
services:
  web:
    image: x
    env_file: [web.env, {path: nowhere.env, required: false}]
    environment:
      A: ${A}
      B: ${B}
      C: inline
      PASSED_ON:
      NOT_SET:
      FROM_PROCESS:
      NUMBER: 42
      FLAG: "true"
jobs:
  seed:
    image: x
    triggers: {manual: true}
    env_file: web.env
`})
	given := map[string]string{"B": "caller", "PASSED_ON": "yes"}
	p := load(t, compose.Options{WorkingDir: dir, Environment: given})
	got := map[string]string{}
	for name, value := range p.Project.Services["web"].Environment {
		if value != nil {
			got[name] = *value
		}
	}
	want := map[string]string{
		"A": "dotenv", "B": "caller", "C": "inline", "D": "file", "E": "multi\nline", "PASSED_ON": "yes", "NUMBER": "42", "FLAG": "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if value := p.Jobs["seed"].Environment["D"]; value == nil || *value != "file" {
		t.Errorf("the job has no variables of its env file: %v", p.Jobs["seed"].Environment)
	}
	if diff := cmp.Diff(map[string]string{"B": "caller", "PASSED_ON": "yes"}, given); diff != "" {
		t.Errorf("the caller's environment was changed:\n%s", diff)
	}
}

// TestBinds: small files of the project are copied, on any cluster; everything else is mounted as it is, on a node of this
// machine only.
func TestBinds(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "id_rsa")
	if err := os.WriteFile(outside, []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{
		"conf/a": "1", "conf/sub/b": "2", "link/x": "", "big/x": strings.Repeat("x", 1<<20), "big/y": "y", ".env.local": "S=1",
		"data/x": "1", "hole/x": "1", "both/x": "1",
		"compose.yaml": "services: {web: {image: x, volumes: ['./conf:/conf:ro', './.env.local:/env:ro', './conf/a:/a']}}\n",
		"more.yaml": "services: {web: {image: x, volumes: ['./link:/a:ro', './big:/b:ro', './out:/c:ro', './data:/d', './hole:/e:ro', '" + outside +
			":/f:ro', './none:/g', './both:/h:ro']}, app: {image: x, volumes: ['./both:/h', /dev/null:/n]}}\n",
		"strict.yaml": "services: {web: {image: x, volumes: [{type: bind, source: ./none, target: /a, bind: {create_host_path: false}}]}}\n",
	})
	for link, target := range map[string]string{"link/key": outside, "out": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "hole", "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, embedded := range []bool{false, true} {
		p := load(t, compose.Options{WorkingDir: dir, Embedded: embedded})
		a := compose.TreeFile{Mode: 0o600, Data: []byte("1")}
		want := map[string]compose.Tree{
			"conf/a":     {Files: []compose.TreeFile{a}},
			"conf":       {Folder: true, Files: []compose.TreeFile{{Path: "a", Mode: 0o600, Data: []byte("1")}, {Path: "sub/b", Mode: 0o600, Data: []byte("2")}}},
			".env.local": {Sensitive: true, Files: []compose.TreeFile{{Mode: 0o600, Data: []byte("S=1")}}},
		}
		if diff := cmp.Diff(want, relative(dir, p.Binds)); diff != "" {
			t.Errorf("embedded %v: trees (-want +got):\n%s", embedded, diff)
		}
	}
	p := load(t, compose.Options{WorkingDir: dir, Files: []string{"more.yaml"}, Embedded: true})
	want := map[string]compose.Tree{
		"/dev/null": {Host: "/dev/null"}, outside: {Host: outside},
	}
	for _, name := range []string{"link", "big", "data", "hole", "none", "both"} {
		want[name] = compose.Tree{Host: filepath.Join(dir, name), Folder: true, Create: true}
	}
	want["out"] = compose.Tree{Host: filepath.Join(dir, "out")}
	if diff := cmp.Diff(want, relative(dir, p.Binds)); diff != "" {
		t.Errorf("trees of the host (-want +got):\n%s", diff)
	}
	refused := map[string][]string{
		"more.yaml": {
			"link is not carried: key is a link", "may hold 1 MiB", "out is not carried: it leads outside of the project's folder",
			"id_rsa is not carried: it is outside of the project's folder", "none is not carried: no such file or directory", "its folder empty is empty",
			"/dev/null is not carried",
		},
		"strict.yaml": {"none is not carried"},
	}
	for file, texts := range refused {
		_, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Files: []string{file}})
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %v, want %q in it", file, err, text)
			}
		}
	}
	_, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Files: []string{"strict.yaml"}, Embedded: true})
	if want := "strict.yaml:1: service \"web\": bind mount of none: there is no such file or folder"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// relative is trees with the names of project files relative to the project's folder.
func relative(dir string, trees map[string]compose.Tree) map[string]compose.Tree {
	out := map[string]compose.Tree{}
	for path, tree := range trees {
		out[strings.TrimPrefix(path, dir+"/")] = tree
	}
	return out
}
