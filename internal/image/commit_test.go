package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommit(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "app")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = top
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, want string) {
		t.Helper()
		if got := Commit(t.Context(), dir); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	write("app/compose.yaml", "services: {}")
	want("no repository", "")
	run("init", "--quiet")
	want("no commit", "")
	run("add", "--all")
	run("commit", "--quiet", "--message", "first")
	commit := run("rev-parse", "--short=12", "HEAD")
	want("as committed", commit)
	write("another/file", "")
	want("another folder is no matter", commit)
	write("app/new", "")
	want("a new file", commit+"-dirty")
	write("app/.gitignore", "new\n.gitignore\n")
	want("one that is ignored", commit)
	write("app/compose.yaml", "services: {web: {image: web}}")
	want("a changed file", commit+"-dirty")
}
