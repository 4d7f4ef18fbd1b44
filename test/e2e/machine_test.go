package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMachineRefused starts a cluster where none can run. All that is missing must be said before anything is changed.
func TestMachineRefused(t *testing.T) {
	u := newUser(t, "r")
	before := u.mustLook(t)
	u.program = u.reachableProgram(t)
	nothing := filepath.Join(u.dir, "nothing")
	if err := os.Mkdir(nothing, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		with command
		says []string
	}{
		{"not root", command{as: &syscall.Credential{Uid: 65534, Gid: 65534}}, []string{"root", "hint: ", "sudo"}},
		{"no nft", command{env: []string{"PATH=" + nothing}}, []string{"nft", "hint: ", "apt-get install nftables"}},
		{"a path too long for sockets", command{env: []string{"PERCH_STATE_DIR=" + filepath.Join(u.state, strings.Repeat("long", 25))}}, []string{"too long", "hint: ", "PERCH_STATE_DIR"}},
		{"a name that is none", command{env: []string{"PERCH_CLUSTER=Not_A_Name"}}, []string{"Not_A_Name", "hint: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.with.args = []string{"cluster", "start"}
			r := u.exec(t.Context(), c.with)
			t.Log(r)
			u.leavesNothing(t, before, nil)
			u.leavesNoFiles(t)
			if r.code != 1 && r.code != 2 {
				t.Errorf("wanted exit code 1 or 2: %s", r)
			}
			wantText(t, r.stderr, append(c.says, "error: ")...)
		})
	}
	t.Run("up is refused as well", func(t *testing.T) {
		p := u.project(t, "app", map[string]string{"compose.yaml": "services:\n  web:\n    image: busybox:1.36\n"})
		r := u.want(t, 1, command{dir: p.dir, args: []string{"up", "-d"}, env: []string{"PATH=" + nothing}})
		wantText(t, r.stderr, "nft", "hint: ")
		u.leavesNothing(t, before, nil)
	})
}

// reachableProgram is bin/perch in a folder that every user can get to.
func (u *user) reachableProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(u.dir, "perch")
	if err := os.Link(u.program, path); err == nil {
		return path
	}
	data, err := os.ReadFile(u.program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// mountSmall puts a file system of that size in memory where the state folder is to be, and takes it away at the end.
func (u *user) mountSmall(t *testing.T, size string) {
	t.Helper()
	if err := os.MkdirAll(u.state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", u.state, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("a small file system: %v", err)
	}
}

func (u *user) unmountSmall(t *testing.T) {
	t.Helper()
	if err := syscall.Unmount(u.state, 0); err != nil {
		t.Errorf("unmount %s: %v", u.state, err)
	}
}

// TestDiskTooSmall: a full disk is seen before anything is written.
func TestDiskTooSmall(t *testing.T) {
	u := newUser(t, "s")
	u.mountSmall(t, "64m")
	defer u.unmountSmall(t)
	before := u.mustLook(t)
	r := u.want(t, 1, command{args: []string{"cluster", "start"}})
	u.leavesNothing(t, before, nil)
	u.leavesNoFiles(t)
	t.Log(r)
	wantText(t, r.stderr, "error: ", "full", "hint: ", "PERCH_STATE_DIR")
}

// TestDiskFull fills the disk under a running cluster: what needs space fails and says so, the cluster lives on, and
// works again when there is space.
func TestDiskFull(t *testing.T) {
	u := newUser(t, "f")
	u.mountSmall(t, "1300m")
	defer u.unmountSmall(t)
	u.perch(t, "", "cluster", "start")
	defer u.perch(t, "", "cluster", "delete", "--yes") // before its file system goes
	n := u.connect(t)
	images := archives(t, u.root, "busybox:1.36", "postgres:15")
	u.perch(t, "", "image", "load", images[0])
	filler := filepath.Join(u.state, "filler")
	fill(t, filler, 48<<20)
	t.Run("loading an image says why it fails", func(t *testing.T) {
		r := u.want(t, 1, command{args: []string{"image", "load", images[1]}})
		wantText(t, r.stderr, "error: ", "no space left on device", "hint: ")
	})
	t.Run("a build says why it fails", func(t *testing.T) {
		p := u.project(t, "big", map[string]string{
			"compose.yaml": "services:\n  web:\n    build: .\n",
			"Dockerfile":   "FROM busybox:1.36\nRUN dd if=/dev/zero of=/big bs=1M count=500\n",
		})
		r := u.want(t, 10, command{dir: p.dir, args: []string{"up", "-d"}})
		wantText(t, r.stderr, "error: ", "No space left on device")
		if n.namespaceExists(t, "big") {
			t.Error("something was deployed")
		}
	})
	t.Run("the cluster lives on", func(t *testing.T) {
		if err := n.nodeReady(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	t.Run("with space again all is well", func(t *testing.T) {
		u.perch(t, "", "image", "load", images[1])
		p := u.project(t, "well", map[string]string{"compose.yaml": "services:\n  web:\n    image: busybox:1.36\n    command: httpd -f\n    expose: [\"80\"]\n    stop_grace_period: 1s\n"})
		p.up(t)
		n.ready(t, "well", "web", 1)
	})
	t.Run("the store itself finds no space, and goes on when there is some", func(t *testing.T) { testStoreFull(t, n, filler) })
}

// testStoreFull fills the disk to its last byte, and the store with objects until it takes no more: etcd ends then. What it has
// taken must be there when there is space again.
func testStoreFull(t *testing.T, n *node, filler string) {
	fill(t, filler, 0)
	write := func(ctx context.Context, i int) error {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("big-%d", i)}, Data: map[string]string{"big": strings.Repeat("x", 900<<10)}}
		_, err := n.api.CoreV1().ConfigMaps("default").Create(ctx, c, metav1.CreateOptions{})
		return err
	}
	const enough = 300 // of nearly a megabyte: more than the store can have had in hand
	var refused error
	taken := 0
	for ; taken < enough && refused == nil; taken++ {
		refused = write(t.Context(), taken)
	}
	if refused == nil {
		t.Fatalf("the store has taken %d MB on a disk that is full", taken)
	}
	taken--
	t.Logf("after %d objects: %v", taken, refused)
	eventually(t, 60*time.Second, "the status tells of the disk", func(ctx context.Context) error {
		return hasText(n.exec(ctx, command{args: []string{"cluster", "status"}}).all(), "the disk of ", " is full")
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "the store takes objects again", func(ctx context.Context) error { return write(ctx, enough) })
	eventually(t, 90*time.Second, "the node takes pods again", func(ctx context.Context) error {
		list, err := n.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, c := range list.Items[0].Status.Conditions {
			if c.Type == corev1.NodeDiskPressure && c.Status != corev1.ConditionFalse {
				return fmt.Errorf("%s: %s", c.Reason, c.Message)
			}
		}
		return n.nodeReady(ctx)
	})
	for i := range taken {
		if _, err := n.api.CoreV1().ConfigMaps("default").Get(t.Context(), fmt.Sprintf("big-%d", i), metav1.GetOptions{}); err != nil {
			t.Errorf("an object that was taken: %v", err)
		}
	}
}

// fill writes a file that leaves only so many bytes free, or a little more: others write meanwhile.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	const more = 64 << 10 // of the next try
	for last := leave + 16*more; ; leave += more {
		var fs syscall.Statfs_t
		if err := syscall.Fstatfs(int(file.Fd()), &fs); err != nil {
			t.Fatal(err)
		}
		free := int64(fs.Bavail)*fs.Bsize - leave //nolint:gosec // a disk's blocks fit
		err := syscall.Fallocate(int(file.Fd()), 0, 0, free)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || leave >= last {
			t.Fatalf("fill %s with %d bytes: %v", path, free, err)
		}
		if err := file.Truncate(0); err != nil { // what there was room for
			t.Fatal(err)
		}
	}
}
