package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What Kubernetes puts into a container's environment reaches the programs of a script, names like "data-1" too. The path is
// given since busybox's env, which starts programs here, would take its own shell.
func TestSuiteBusybox(t *testing.T) {
	t.Parallel()
	const script = "env | grep data-1; ls /bin/sysctl; /bin/sh -c 'echo >/proc/file'"
	run := unpack(t, "conformance.test/busybox:1").start(t, container{env: []string{"data-1=value-1"}, args: []string{"/usr/local/bin/sh", "-c", script}})
	if code := run.wait(t); code == 0 || run.output.String() != "data-1=value-1\n/bin/sysctl\n/bin/sh: can't create /proc/file: nonexistent directory\n" {
		t.Errorf("exit code %d", code)
	}
}

// The program is root for whoever starts it, unless the container forbids that.
func TestSuiteNoNewPrivs(t *testing.T) {
	t.Parallel()
	root := unpack(t, "conformance.test/nonewprivs:1")
	info, err := os.Stat(filepath.Join(root.dir, "usr/local/bin/nnp"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&os.ModeSetuid == 0 || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %s", info.Mode())
	}
	run := root.start(t, container{user: 1000})
	if code := run.wait(t); code != 0 || run.output.String() != "Effective uid: 0\n" {
		t.Errorf("exit code %d", code)
	}
}

// It has one program, which is nobody.
func TestSuitePause(t *testing.T) {
	t.Parallel()
	root := unpack(t, "conformance.test/pause:1")
	if _, err := os.Stat(filepath.Join(root.dir, "pause")); err != nil {
		t.Error(err)
	}
	if root.config.User != "65535:65535" || len(root.config.Entrypoint) != 1 {
		t.Errorf("%+v", root.config)
	}
}
