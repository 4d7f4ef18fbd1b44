package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project is a folder with a Compose file that a user works in.
type project struct {
	*user
	dir string
}

// project writes a folder of the user's with these files, by their paths in it.
func (u *user) project(t *testing.T, name string, files map[string]string) project {
	t.Helper()
	p := project{user: u, dir: filepath.Join(u.dir, "work", name)}
	for path, text := range files {
		p.write(t, path, text)
	}
	return p
}

// copyOf is a project with the files of a folder of the repository.
func (u *user) copyOf(t *testing.T, name, from string) project {
	t.Helper()
	p := project{user: u, dir: filepath.Join(u.dir, "work", name)}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join(u.root, from))); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p project) write(t *testing.T, path, text string) {
	t.Helper()
	file := filepath.Join(p.dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace changes one place of a file.
func (p project) replace(t *testing.T, path, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), from); n != 1 {
		t.Fatalf("%s has %q %d times, wanted once", path, from, n)
	}
	p.write(t, path, strings.Replace(string(data), from, to, 1))
}

// git runs git in the folder and returns what it prints.
func (p project) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a commit of everything, and a repository first if there is none. It returns the commit.
func (p project) commit(t *testing.T, message string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(p.dir, ".git")); err != nil {
		p.git(t, "init", "--quiet")
	}
	p.git(t, "add", "--all")
	p.git(t, "commit", "--quiet", "--message", message)
	return p.git(t, "rev-parse", "HEAD")
}

// run runs perch in the folder and wants it to succeed.
func (p project) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return p.perch(t, p.dir, args...)
}

// up is `perch up -d` that succeeds.
func (p project) up(t *testing.T, env ...string) outcome {
	t.Helper()
	return p.want(t, 0, command{dir: p.dir, args: []string{"up", "-d"}, env: env})
}
