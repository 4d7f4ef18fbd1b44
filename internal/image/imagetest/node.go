// Package imagetest gives tests an image store and a builder as the node has them: a containerd of our own, runc, and
// package builder started by the first connection, all in namespaces that end with the test. It needs root and a Go
// toolchain with a C compiler. It must not be imported by anything but tests.
package imagetest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/node/builder"
)

// roleEnv makes the test's own binary one of the node's processes.
const (
	roleEnv = "PERCH_IMAGETEST_ROLE"
	dirEnv  = "PERCH_IMAGETEST_DIR"
	binEnv  = "PERCH_IMAGETEST_BIN"
	keepEnv = "PERCH_IMAGETEST_KEEP"
	// Idle is how long the builder of a Node lives without a connection.
	Idle = 300 * time.Millisecond
)

// Main is what TestMain of a package with nodes calls instead of m.Run: the processes of a node are the test's binary.
func Main(m *testing.M) int {
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		return m.Run()
	case "node":
		err = runNode(os.Getenv(dirEnv), os.Getenv(binEnv))
	case "builder":
		err = runBuilder(os.Getenv(dirEnv), os.Getenv(binEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Node is a running store and builder.
type Node struct {
	Dir        string // everything it has on disk
	Containerd string // sockets
	Builder    string
	Registries string // the folder of mirrors
}

// Start starts a node, or skips the test with the reason. It ends with the test. The budget of its build cache may be
// given, in bytes.
func Start(t *testing.T, budget ...int64) *Node {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts containerd: not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("containerd needs root")
	}
	bin := binaries(t)
	dir, err := os.MkdirTemp("", "perch-image") // not t.TempDir: its path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Dir: dir, Containerd: filepath.Join(dir, "c.sock"), Builder: filepath.Join(dir, "b.sock"), Registries: filepath.Join(dir, "registries")}
	// A pid namespace that ends with its first process takes containerd, shims and builder along; a mount namespace
	// takes the mounts.
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=node", dirEnv+"="+dir, binEnv+"="+bin)
	for _, b := range budget {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", keepEnv, b))
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("node:\n%s", text)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("node: %q, %v", line, err)
	}
	return n
}

// KillBuilder kills the builder, which must be running.
func (n *Node) KillBuilder(t *testing.T) {
	t.Helper()
	pid := n.builderPID(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// builderPID finds the builder from outside its pid namespace.
func (n *Node) builderPID(t *testing.T) int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		env, err := os.ReadFile(p)
		program, _ := os.Readlink(filepath.Join(filepath.Dir(p), "exe")) // runc has this environment too
		if err == nil && program == own && strings.Contains(string(env), roleEnv+"=builder\x00") && strings.Contains(string(env), dirEnv+"="+n.Dir+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("no builder runs")
	return 0
}

// BuilderRuns is whether the builder has a process now.
func (n *Node) BuilderRuns() bool {
	_, err := os.Stat(filepath.Join(n.Dir, "builder-runs"))
	return err == nil
}

const containerdConfig = `version = 3
root = "DIR/containerd"
state = "DIR/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
[grpc]
  address = "DIR/c.sock"
`

// runNode is the node's first process: containerd, and the builder whenever somebody waits for it.
func runNode(dir, bin string) error {
	// containerd wants folders of its own below /run, which is everybody's.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil { // where runc notes what it runs
		return err
	}
	if err := startContainerd(dir, bin); err != nil {
		return err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "b.sock"))
	if err != nil {
		return err
	}
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	for {
		if err := waitForConnection(file); err != nil {
			return err
		}
		if err := startBuilder(dir, file); err != nil {
			return err
		}
	}
}

func startContainerd(dir, bin string) error {
	config := filepath.Join(dir, "containerd.toml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(containerdConfig, "DIR", dir)), 0o600); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(bin, "containerd"), "--config", config, "--log-level", "warn")
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	for { // its socket is there before it answers; the clients wait for that
		if conn, err := net.Dial("unix", filepath.Join(dir, "c.sock")); err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// startBuilder returns when the builder has ended. The file builder-runs is there meanwhile.
func startBuilder(dir string, listener *os.File) error {
	b := exec.Command("/proc/self/exe")
	b.Env = append(os.Environ(), roleEnv+"=builder")
	b.ExtraFiles = []*os.File{listener}
	b.Stderr = os.Stderr
	runs := filepath.Join(dir, "builder-runs")
	if err := os.WriteFile(runs, nil, 0o600); err != nil {
		return err
	}
	if err := b.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "builder:", err)
	}
	return os.Remove(runs)
}

func runBuilder(dir, bin string) error {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	keep, _ := strconv.ParseInt(os.Getenv(keepEnv), 10, 64) // 0 is the default
	return builder.Run(context.Background(), builder.Config{
		Listener:    l,
		Root:        filepath.Join(dir, "builder"),
		Containerd:  filepath.Join(dir, "c.sock"),
		Runc:        filepath.Join(bin, "runc"),
		Registries:  []string{filepath.Join(dir, "registries")},
		Nameservers: []string{"127.0.0.1"},
		Idle:        Idle,
		Keep:        keep,
	})
}
