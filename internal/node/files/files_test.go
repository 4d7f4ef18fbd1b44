package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perch-k8s/perch/internal/node/files"
)

func TestReplace(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(string, []byte) error{"at once": files.Replace, "durably": files.ReplaceDurably} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			if err := os.WriteFile(path, []byte("the old one, and longer"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := replace(path, []byte("new")); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
				t.Errorf("it holds %q, %v", got, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
			// A folder cannot be replaced by a file; what was written beside it goes again.
			if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := replace(filepath.Join(dir, "folder"), nil); err == nil {
				t.Error("a folder was replaced")
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Errorf("the folder holds %v, %v", left, err)
			}
		})
	}
}
