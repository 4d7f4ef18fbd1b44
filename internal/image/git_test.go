package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// repository is a folder under git.
type repository struct {
	*testing.T
	dir string
}

func (r repository) git(args ...string) string {
	r.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("git %v: %s", args, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes the files, one whose text is "-" is removed, and returns the commit.
func (r repository) commit(files map[string]string) string {
	r.Helper()
	for name, text := range files {
		if text == "-" {
			check(r.T, os.Remove(filepath.Join(r.dir, name)))
			continue
		}
		put(r.T, filepath.Join(r.dir, name), text)
	}
	r.git("add", "-A")
	r.git("commit", "-qm", "x", "--allow-empty")
	return r.git("rev-parse", "HEAD")
}

func TestLastCommitOfWhatIsInTheImage(t *testing.T) {
	t.Parallel()
	start := map[string]string{
		"compose.yaml": "1", ".dockerignore": "compose.yaml\nDockerfile\n.dockerignore\ndocs\n!docs/kept\n", "Dockerfile": "FROM x\nCOPY . /\n",
		"src/a": "1", "src/b": "1", "docs/x": "1", "docs/kept": "1", "outer/x": "1", "sub/Dockerfile": "FROM x\n", "lib/x": "1", "lib/.dockerignore": "junk\n", "lib/junk": "1",
	}
	tests := map[string]struct {
		change map[string]string
		build  types.BuildConfig // a relative context
		counts bool
	}{
		"an ignored file":                  {change: map[string]string{"compose.yaml": "2"}},
		"an ignored folder":                {change: map[string]string{"docs/x": "2", "docs/y": "2"}},
		"an ignored file that is gone":     {change: map[string]string{"docs/x": "-"}},
		"nothing":                          {},
		"a file of an ignored folder":      {change: map[string]string{"docs/kept": "2"}, counts: true},
		"a file":                           {change: map[string]string{"src/a": "2"}, counts: true},
		"a file that is gone":              {change: map[string]string{"src/b": "-"}, counts: true},
		"a file and an ignored one":        {change: map[string]string{"compose.yaml": "2", "src/a": "2"}, counts: true},
		"the Dockerfile, which is ignored": {change: map[string]string{"Dockerfile": "FROM y\nCOPY . /\n"}, counts: true},
		"the ignore file":                  {change: map[string]string{".dockerignore": "compose.yaml\n"}, counts: true},
		"outside the context":              {change: map[string]string{"src/a": "2"}, build: types.BuildConfig{Context: "sub"}},
		"the Dockerfile outside":           {change: map[string]string{"Dockerfile": "FROM y\n"}, build: types.BuildConfig{Context: "sub", Dockerfile: "../Dockerfile"}, counts: true},
		"another context": {
			change: map[string]string{"lib/x": "2"}, counts: true,
			build: types.BuildConfig{Context: "sub", AdditionalContexts: types.Mapping{"lib": "lib"}},
		},
		"ignored in another context": {
			change: map[string]string{"lib/junk": "2"}, build: types.BuildConfig{Context: "sub", AdditionalContexts: types.Mapping{"lib": "lib"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := repository{t, t.TempDir()}
			r.git("init", "-q")
			before := r.commit(start)
			after := r.commit(tt.change)
			build := tt.build
			build.Context = filepath.Join(r.dir, build.Context)
			if len(build.AdditionalContexts) > 0 {
				build.AdditionalContexts = types.Mapping{"lib": filepath.Join(r.dir, "lib")}
			}
			want := before
			if tt.counts {
				want = after
			}
			if got := recipeOf(t, r.dir, build).revision(t.Context()); got.commit != want || got.dirty {
				t.Errorf("%+v, want %s; before %s, after %s", got, want, before, after)
			}
		})
	}
}

func TestCommitsOfBranches(t *testing.T) {
	t.Parallel()
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	r.commit(map[string]string{"Dockerfile": "FROM x\n", ".dockerignore": "docs\n", "a": "1", "b": "1", "docs/x": "1"})
	last := func() string {
		t.Helper()
		rev := recipeOf(t, r.dir, types.BuildConfig{}).revision(t.Context())
		if rev.dirty {
			t.Error("dirty")
		}
		return rev.commit
	}
	branch := func(theirs, ours map[string]string) (mine, merge string) {
		t.Helper()
		r.git("checkout", "-qb", "side")
		r.commit(theirs)
		r.git("checkout", "-q", "main")
		mine = r.commit(ours)
		r.git("merge", "-q", "--no-edit", "--no-ff", "side")
		r.git("branch", "-qd", "side")
		return mine, r.git("rev-parse", "HEAD")
	}
	if _, want := branch(map[string]string{"a": "2"}, map[string]string{"docs/x": "2"}); last() != want {
		t.Errorf("the branch changed a file: %s, want the merge %s", last(), want)
	}
	if want, _ := branch(map[string]string{"docs/x": "3"}, map[string]string{"a": "3"}); last() != want {
		t.Errorf("the branch changed an ignored file: %s, want the commit before %s", last(), want)
	}
	if _, want := branch(map[string]string{"a": "4"}, map[string]string{"b": "4"}); last() != want {
		t.Errorf("both changed a file: %s, want the merge %s", last(), want)
	}
}

func TestUntrackedContextHasNoCommit(t *testing.T) {
	t.Parallel()
	r := repository{t, t.TempDir()}
	r.git("init", "-q")
	r.commit(map[string]string{"compose.yaml": "1"})
	put(t, filepath.Join(r.dir, "web/Dockerfile"), "FROM x\n")
	if got := recipeOf(t, filepath.Join(r.dir, "web"), types.BuildConfig{}).revision(t.Context()); got.commit != "" {
		t.Errorf("%+v", got)
	}
}
