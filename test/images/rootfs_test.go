package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entries are the lines of a tar: type, name, mode, owner, content of small files or target of links.
func entries(t *testing.T, file io.Reader) []string {
	t.Helper()
	var all []string
	r := tar.NewReader(file)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%c %s %#o %d %s", h.Typeflag, h.Name, h.Mode, h.Uid, content)
		if h.Linkname != "" {
			line = fmt.Sprintf("%c %s -> %s", h.Typeflag, h.Name, h.Linkname)
		}
		all = append(all, strings.TrimSpace(line))
	}
}

// ownAddress is an address of every container that is not localhost.
const ownAddress = "192.0.2.1"

// rootfs is an image that was unpacked, for running its programs in namespaces of their own. Only root can.
type rootfs struct {
	dir    string
	config v1.Config
}

func unpack(t *testing.T, image string) rootfs {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can run an image's programs in its own root folder")
	}
	built, err := tarball.ImageFromPath(archive(t, image), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := built.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	content := mutate.Extract(built)
	defer func() { _ = content.Close() }()
	root := rootfs{dir: t.TempDir(), config: config.Config}
	if err := os.Chmod(root.dir, 0o755); err != nil { // it is "/" for users who are not root
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "tar", "-x", "-p", "--numeric-owner", "-C", root.dir)
	command.Stdin = content
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

// container is how a program is started in a rootfs, as a runtime would.
type container struct {
	env    []string          // besides the image's
	args   []string          // nil: the image's command
	plain  bool              // without the image's entry point
	user   int               // 0: root
	mounts map[string]string // folder in the image to folder of the host
}

// running is the first process of a namespace: when it ends, so do all others in there.
type running struct {
	root   rootfs
	pid    int
	output *syncBuffer
	ended  chan struct{}
	code   int // valid once ended is closed
}

// start starts a program and sees to it that it does not outlive the test.
func (r rootfs) start(t *testing.T, c container) *running {
	t.Helper()
	command := exec.Command("/bin/sh", "-c", r.script(c))
	out := &syncBuffer{}
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	run := &running{root: r, output: out, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when this thread ends
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		var exit *exec.ExitError
		if err := command.Wait(); errors.As(err, &exit) {
			run.code = exit.ExitCode()
		}
		close(run.ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	run.pid = command.Process.Pid
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-run.ended
		if t.Failed() {
			t.Logf("output:\n%s", out)
		}
	})
	return run
}

// script mounts what a runtime mounts and becomes the program. Nothing of it is seen outside its namespaces.
func (r rootfs) script(c container) string {
	lines := []string{
		"set -e", "ip link set lo up", "ip address add " + ownAddress + "/32 dev lo",
		"mount --make-rprivate /", "mount -t proc proc " + r.dir + "/proc",
	}
	lines = append(lines, r.devices()...)
	targets := make([]string, 0, len(c.mounts))
	for target := range c.mounts {
		targets = append(targets, target)
	}
	slices.Sort(targets)
	for _, target := range targets {
		lines = append(lines, fmt.Sprintf("mkdir -p %[1]s && mount --bind %[2]s %[1]s", filepath.Join(r.dir, target), c.mounts[target]))
	}
	args := c.args
	if args == nil {
		args = r.config.Cmd
	}
	if !c.plain {
		args = append(slices.Clone(r.config.Entrypoint), args...)
	}
	words := []string{"exec chroot", "--userspec=" + strconv.Itoa(c.user) + ":" + strconv.Itoa(c.user), r.dir, "/usr/bin/env", "-i"}
	if r.config.WorkingDir != "" {
		words = append(words, "-C", r.config.WorkingDir)
	}
	for _, word := range slices.Concat(r.config.Env, c.env, args) {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	return strings.Join(append(lines, strings.Join(words, " ")), "\n")
}

// devices makes a /dev of its own: a program that is root here could change the owners and modes of the machine's.
func (r rootfs) devices() []string {
	lines := []string{"cd " + r.dir + "/dev", "mount -t tmpfs -o mode=755 dev .", "cd " + r.dir + "/dev"} // the second: into the new one
	for name, numbers := range map[string]string{"null": "1 3", "zero": "1 5", "full": "1 7", "random": "1 8", "urandom": "1 9", "tty": "5 0"} {
		lines = append(lines, fmt.Sprintf("mknod -m 666 %s c %s", name, numbers))
	}
	return append(lines, "mkdir -m 1777 shm", "ln -s /proc/self/fd fd", "ln -s fd/0 stdin", "ln -s fd/1 stdout", "ln -s fd/2 stderr", "cd /")
}

// exec runs another program beside it and returns what it printed.
func (r *running) exec(ctx context.Context, args ...string) (string, error) {
	all := append([]string{"-t", strconv.Itoa(r.pid), "-m", "-n", "-p", "-i", "--", "chroot", r.root.dir, "/usr/bin/env", "-i"}, r.root.config.Env...)
	out, err := exec.CommandContext(ctx, "nsenter", append(all, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// wait returns the exit code.
func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(2 * time.Minute):
		t.Fatalf("still running after 2 minutes:\n%s", r.output)
	}
	return r.code
}

// stop sends a signal and returns the exit code.
func (r *running) stop(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	if err := syscall.Kill(r.pid, signal); err != nil {
		t.Fatal(err)
	}
	return r.wait(t)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestBusybox(t *testing.T) {
	t.Parallel()
	run := unpack(t, "busybox:1.36").start(t, container{args: []string{"sh", "-c", "echo hello | tr a-z A-Z; id -u"}})
	if code := run.wait(t); code != 0 || run.output.String() != "HELLO\n0\n" {
		t.Errorf("exit code %d", code)
	}
}

// The builder compiles without a network, and without anything of this machine.
func TestGolang(t *testing.T) {
	t.Parallel()
	const source = `mkdir /src && cd /src && printf 'module m\ngo 1.26\n' >go.mod &&
		printf 'package main\nfunc main() { println("built") }\n' >main.go && HOME=/root go build -o /m . && /m && go env GOVERSION GOPATH`
	root := unpack(t, "golang:1.26")
	run := root.start(t, container{args: []string{"sh", "-c", source}})
	code := run.wait(t)
	lines := strings.Split(run.output.String(), "\n")
	if code != 0 || len(lines) < 3 || lines[0] != "built" || !strings.HasPrefix(lines[1], "go1.26") || lines[2] != "/go" {
		t.Errorf("exit code %d", code)
	}
	ours, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := os.ReadFile(filepath.Join(root.dir, "etc/ssl/certs/ca-certificates.crt")); err != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("it does not trust what this machine trusts: %v", err)
	}
}
