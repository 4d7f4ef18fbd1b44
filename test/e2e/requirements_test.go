package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// requirements skips the test where it cannot run, saying why; in CI it fails instead, so that nothing is left out in
// silence. It returns the root of the repository.
func requirements(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	missing := func(why string) {
		t.Helper()
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if testing.Short() {
		t.Skip("not with -short: it starts a Kubernetes")
	}
	if os.Geteuid() != 0 {
		missing("the node needs root: run make e2e as root")
	}
	if _, err := os.Stat(program(root)); err != nil {
		missing("there is no " + program(root) + ": run make build")
	}
	return root
}

// program is the perch that is tested.
func program(root string) string {
	return orElse(os.Getenv("PERCH_E2E_PROGRAM"), filepath.Join(root, "bin", "perch"))
}

// tool is the path of a plain kubectl or helm, which know nothing of Perch.
func tool(t *testing.T, root, name string) string {
	t.Helper()
	path := filepath.Join(root, ".cache", "tools", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s: run make tools", path)
	}
	t.Skipf("there is no %s: run make tools", path)
	return ""
}

// archives makes the base images that tests build on, and returns their paths. What is there already is left alone.
func archives(t *testing.T, root string, images ...string) []string {
	t.Helper()
	dir := filepath.Join(root, ".cache", "images")
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "-buildvcs=false", "./test/images", "-o", dir}, images...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("base images: %v\n%s", err, out)
	}
	paths := make([]string, 0, len(images))
	for _, image := range images {
		paths = append(paths, filepath.Join(dir, strings.ReplaceAll(image, ":", "-")+".tar"))
	}
	return paths
}
