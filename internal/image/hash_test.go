package image

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// tree writes files into a new folder; a name that ends in a slash is a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func recipeOf(t *testing.T, dir string, b types.BuildConfig) *recipe {
	t.Helper()
	if b.Context == "" {
		b.Context = dir
	}
	r, err := newRecipe(want{key: "web", build: &b}, &types.Project{Name: "shop", WorkingDir: dir}, Registry{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hashOf(t *testing.T, r *recipe) string {
	t.Helper()
	sum, err := r.contentHash(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestContentHash(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"Dockerfile": "FROM scratch\nCOPY . /\n", "a/b.txt": "1", "junk/c.txt": "1", ".dockerignore": "junk\n", ".git/HEAD": "1", "lib/x": "1",
	}
	word, other := "1", "2"
	plain := types.BuildConfig{Args: types.MappingWithEquals{"A": &word}}
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		build  types.BuildConfig
		same   bool
	}{
		"nothing":          {same: true, change: func(*testing.T, string) {}},
		"a file's content": {change: func(t *testing.T, d string) { put(t, filepath.Join(d, "a/b.txt"), "2") }},
		"a new file":       {change: func(t *testing.T, d string) { put(t, filepath.Join(d, "a/n.txt"), "") }},
		"a file's mode":    {change: func(t *testing.T, d string) { check(t, os.Chmod(filepath.Join(d, "a/b.txt"), 0o755)) }},
		"a file is gone":   {change: func(t *testing.T, d string) { check(t, os.Remove(filepath.Join(d, "a/b.txt"))) }},
		"a link":           {change: func(t *testing.T, d string) { check(t, os.Symlink("b.txt", filepath.Join(d, "a/l"))) }},
		"the Dockerfile":   {change: func(t *testing.T, d string) { put(t, filepath.Join(d, "Dockerfile"), "FROM scratch\n") }},
		"the ignore file":  {change: func(t *testing.T, d string) { put(t, filepath.Join(d, ".dockerignore"), "lib\n") }},
		"an argument":      {change: func(*testing.T, string) {}, build: types.BuildConfig{Args: types.MappingWithEquals{"A": &other}}},
		"the target":       {change: func(*testing.T, string) {}, build: types.BuildConfig{Args: plain.Args, Target: "x"}},
		"an ignored file":  {same: true, change: func(t *testing.T, d string) { put(t, filepath.Join(d, "junk/c.txt"), "2") }},
		"git's own files":  {same: true, change: func(t *testing.T, d string) { put(t, filepath.Join(d, ".git/HEAD"), "2") }},
		"a file's time": {same: true, change: func(t *testing.T, d string) {
			check(t, os.Chtimes(filepath.Join(d, "a/b.txt"), time.Unix(1, 0), time.Unix(1, 0)))
		}},
		"no_cache, a tag":      {same: true, change: func(*testing.T, string) {}, build: types.BuildConfig{Args: plain.Args, NoCache: true, Tags: types.StringList{"x"}}},
		"the value of a label": {change: func(*testing.T, string) {}, build: types.BuildConfig{Args: plain.Args, Labels: types.Labels{"a": "b"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := hashOf(t, recipeOf(t, tree(t, files), plain))
			dir := tree(t, files)
			tt.change(t, dir)
			build := tt.build
			if build.Args == nil {
				build = plain
			}
			if after := hashOf(t, recipeOf(t, dir, build)); (after == before) != tt.same {
				t.Errorf("same hash: %v, want %v", after == before, tt.same)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAdditionalContextsAreHashed(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"app/Dockerfile": "FROM scratch\n", "lib/x": "1", "lib/junk": "1", "lib/.dockerignore": "junk"})
	build := types.BuildConfig{Context: filepath.Join(dir, "app"), AdditionalContexts: types.Mapping{"lib": filepath.Join(dir, "lib")}}
	hash := func() string { return hashOf(t, recipeOf(t, dir, build)) }
	first := hash()
	put(t, filepath.Join(dir, "lib/junk"), "2")
	if hash() != first {
		t.Error("an ignored file of an additional context counts")
	}
	put(t, filepath.Join(dir, "lib/x"), "2")
	if hash() == first {
		t.Error("a file of an additional context does not count")
	}
}

func TestIgnoreFileOfTheDockerfileComesFirst(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"Dockerfile": "", ".dockerignore": "# a comment\na\n", "prod/Dockerfile": "", "prod/Dockerfile.dockerignore": "b\n",
		"c/Dockerfile": "", "c/Dockerfile.dockerignore": "",
	})
	tests := map[string][]string{"Dockerfile": {"a"}, "prod/Dockerfile": {"b"}, "c/Dockerfile": {}}
	for name, want := range tests {
		if diff := cmp.Diff(want, recipeOf(t, dir, types.BuildConfig{Dockerfile: name}).ignore); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "", "other": "", "lib/x": ""})
	value, empty := "x", ""
	tests := map[string]struct {
		build types.BuildConfig
		want  bool
	}{
		"a folder":           {types.BuildConfig{}, true},
		"another Dockerfile": {types.BuildConfig{Dockerfile: "other"}, true},
		"cache and secrets":  {types.BuildConfig{NoCache: true, Pull: true, CacheFrom: types.StringList{"x"}}, true},
		"an argument":        {types.BuildConfig{Args: types.MappingWithEquals{"A": &value}}, false},
		"an empty argument":  {types.BuildConfig{Args: types.MappingWithEquals{"A": &empty, "B": nil}}, true},
		"a target":           {types.BuildConfig{Target: "x"}, false},
		"inline":             {types.BuildConfig{DockerfileInline: "FROM scratch"}, false},
		"a context":          {types.BuildConfig{AdditionalContexts: types.Mapping{"lib": filepath.Join(dir, "lib")}}, false},
		"a platform":         {types.BuildConfig{Platforms: types.StringList{"linux/s390x", hostPlatform()}}, true},
		"attestations":       {types.BuildConfig{Provenance: "mode=max"}, false},
		"none":               {types.BuildConfig{Provenance: "false", SBOM: "false", Network: "default", Isolation: "default"}, true},
	}
	for name, tt := range tests {
		if got := recipeOf(t, dir, tt.build).plain(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
