package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// enough is how many writes of each kind are to be acknowledged before the power goes.
const enough = 20

// TestVersion2 is what most users have: systemd, and control groups of version 2. It ends with a power cut.
func TestVersion2(t *testing.T) {
	dir := requirements(t)
	disk := disk(t, dir)
	var before, after writes
	m := boot(t, dir, disk, "road")
	m.follow(t, &before)
	if t.Failed() {
		return
	}
	before.await(t, m, enough)
	m.cut()
	t.Logf("acknowledged before the power cut: %s", &before)
	boot(t, dir, disk, "after-cut").follow(t, &after)
	t.Run("no acknowledged write is missing", func(t *testing.T) {
		for _, lost := range before.without(after) {
			t.Errorf("%s was acknowledged, and is not there", lost)
		}
	})
}

// TestVersion1 is an older machine, or one that was told to be: systemd, and control groups of version 1 alone.
func TestVersion1(t *testing.T) {
	dir := requirements(t)
	m := boot(t, dir, disk(t, dir), "legacy", "systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1")
	m.follow(t, &writes{})
}

// requirements returns the folder with the base disk and the payload, or skips the test; in CI it fails instead.
func requirements(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("VMTEST_DIR")
	if dir == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no VMTEST_DIR: run make vmtest")
		}
		t.Skip("it boots virtual machines: run make vmtest")
	}
	for _, name := range []string{"base.img", "payload.img", "vmlinuz", "initrd"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// follow makes a subtest of each obligation, until the guest is done or wants the power to be cut.
func (m *machine) follow(t *testing.T, w *writes) {
	t.Helper()
	within := bootWithin
	for {
		line, err := m.next(t, within)
		if err != nil {
			t.Fatal(err)
		}
		within = stepWithin
		name, isStep := strings.CutPrefix(line, "step ")
		switch {
		case isStep:
			t.Run(name, func(t *testing.T) { m.obligation(t, w) })
		case line == "cut":
			return
		case line == "done":
			m.awaitOff(t)
			return
		case !w.note(line):
			t.Log(line)
		}
	}
}

// obligation reads until it is met or not. What its commands printed is in the test's log.
func (m *machine) obligation(t *testing.T, w *writes) {
	for {
		line, err := m.next(t, stepWithin)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(line, "pass "):
			return
		case strings.HasPrefix(line, "fail "):
			t.Fail()
			return
		case !w.note(line):
			t.Log(line)
		}
	}
}

// awaitOff waits for a machine that has been told to shut down.
func (m *machine) awaitOff(t *testing.T) {
	t.Helper()
	for {
		line, err := m.next(t, offWithin)
		if errors.Is(err, errOff) {
			return
		}
		if err != nil {
			t.Errorf("shutting down: %v", err)
			return
		}
		t.Log(line)
	}
}
