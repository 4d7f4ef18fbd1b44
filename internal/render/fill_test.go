package render

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFillScript runs the script as the init container does, with a real shell: once, a second time over what the
// application has written, and again after a copy that was interrupted.
func TestFillScript(t *testing.T) {
	t.Parallel()
	image, volume := t.TempDir(), t.TempDir()
	write(t, image, "a file.txt", "from the image")
	write(t, image, ".hidden", "hidden")
	write(t, image, "sub/deep/run.sh", "#!/bin/sh")
	if err := os.Symlink("a file.txt", filepath.Join(image, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(image, "sub/deep/run.sh"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(volume, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	fillOnce(t, image, volume)
	want := map[string]string{
		"a file.txt": "from the image", ".hidden": "hidden", "sub/deep/run.sh": "#!/bin/sh", "link": "-> a file.txt",
	}
	if diff := cmp.Diff(want, tree(t, volume)); diff != "" {
		t.Errorf("after the first start (-want +got):\n%s", diff)
	}
	for path, mode := range map[string]os.FileMode{"sub/deep/run.sh": 0o750, ".": 0o711} {
		if info, err := os.Stat(filepath.Join(volume, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}

	write(t, volume, "a file.txt", "changed by the application")
	if err := os.Remove(filepath.Join(volume, ".hidden")); err != nil {
		t.Fatal(err)
	}
	delete(want, ".hidden")
	want["a file.txt"] = "changed by the application"
	fillOnce(t, image, volume)
	if diff := cmp.Diff(want, tree(t, volume)); diff != "" {
		t.Errorf("after the second start (-want +got):\n%s", diff)
	}

	half := t.TempDir()
	write(t, half, ".perch-filling", "")
	write(t, half, "a file.txt", "from")
	fillOnce(t, image, half)
	want["a file.txt"], want[".hidden"] = "from the image", "hidden"
	if diff := cmp.Diff(want, tree(t, half)); diff != "" {
		t.Errorf("after a copy that was interrupted (-want +got):\n%s", diff)
	}

	nothing := t.TempDir()
	fillOnce(t, "", nothing)
	if diff := cmp.Diff(map[string]string{}, tree(t, nothing)); diff != "" {
		t.Errorf("with nothing to copy (-want +got):\n%s", diff)
	}
}

func fillOnce(t *testing.T, image, volume string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", fillScript, "fill-volumes", image, volume, "", "0711")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func write(t *testing.T, dir, path, text string) {
	t.Helper()
	path = filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree is the files and links below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if entry.Type()&os.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			all[rel] = "-> " + to
			return err
		}
		data, err := os.ReadFile(path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
