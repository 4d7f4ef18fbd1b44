package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// elsewhere is a context that the user's kubeconfig has before Perch comes, and must have after it has gone.
const elsewhere = "elsewhere"

// user is somebody at a keyboard: a home, a state folder, a kubeconfig and one cluster of their own.
type user struct {
	root       string // of the repository
	program    string // bin/perch
	cluster    string
	dir        string // everything below is in it
	home       string
	temp       string
	state      string // PERCH_STATE_DIR
	kubeconfig string
	artifacts  string
	env        []string
	said       *transcript
	in         *space // where the user's programs run; nil: on this machine itself
}

// newUser makes a user, and takes all that is theirs away at the end of the test. The cluster's name begins with the
// letter; the rest is chance, since two runs of these tests may meet on one machine. It is short enough to be found whole
// in the names of interfaces. State is not in t.TempDir: /tmp may be in memory or an overlay, and its paths are too long
// for sockets.
func newUser(t *testing.T, letter string) *user {
	t.Helper()
	root := requirements(t)
	cluster := fmt.Sprintf("e2e-%s%03x", letter, rand.IntN(0x1000))
	dir, err := os.MkdirTemp(orElse(os.Getenv("PERCH_E2E_DIR"), "/var/tmp"), "perch-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	u := &user{
		root: root, program: program(root), cluster: cluster, dir: dir,
		home: filepath.Join(dir, "home"), temp: filepath.Join(dir, "tmp"), state: filepath.Join(dir, "state"),
		kubeconfig: filepath.Join(dir, "home", ".kube", "config"),
		artifacts:  filepath.Join(root, ".cache", "e2e", strings.ReplaceAll(t.Name(), "/", "-")),
		said:       &transcript{},
	}
	for _, d := range []string{filepath.Dir(u.kubeconfig), u.temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // another user must get to the program
		t.Fatal(err)
	}
	if err := os.RemoveAll(u.artifacts); err != nil {
		t.Fatal(err)
	}
	u.writeKubeconfig(t)
	u.env = u.environment(t)
	t.Cleanup(func() { u.leave(t) })
	return u
}

func (u *user) writeKubeconfig(t *testing.T) {
	t.Helper()
	c := api.NewConfig()
	c.Clusters[elsewhere] = &api.Cluster{Server: "https://127.0.0.1:1"}
	c.AuthInfos[elsewhere] = &api.AuthInfo{Token: "none"}
	c.Contexts[elsewhere] = &api.Context{Cluster: elsewhere, AuthInfo: elsewhere}
	c.CurrentContext = elsewhere
	if err := clientcmd.WriteToFile(*c, u.kubeconfig); err != nil {
		t.Fatal(err)
	}
}

// environment is what programs run with: little of ours. Go's caches stay, since a build without them takes minutes.
func (u *user) environment(t *testing.T) []string {
	t.Helper()
	env := []string{
		"HOME=" + u.home, "TMPDIR=" + u.temp, "KUBECONFIG=" + u.kubeconfig,
		"PERCH_STATE_DIR=" + u.state, "PERCH_CLUSTER=" + u.cluster,
		"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@localhost", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@localhost",
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
		out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatalf("go env %s: %v", name, err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	for _, name := range []string{"PATH", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// leave collects what a failed test leaves to read, and deletes the cluster and the folders.
func (u *user) leave(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	if t.Failed() {
		u.collect(ctx, t)
		if os.Getenv("PERCH_E2E_KEEP") != "" {
			t.Logf("kept: %s", strings.Join(u.env, " "))
			return
		}
	}
	r := u.exec(ctx, command{args: []string{"cluster", "delete", "--yes"}})
	if r.code != 0 {
		t.Errorf("the cluster is not deleted: %s", r)
		return // its folder may hold mounts
	}
	if err := os.RemoveAll(u.dir); err != nil {
		t.Error(err)
	}
}

// command is one run of a program, perch when it is not named.
type command struct {
	program string
	dir     string // "": the home
	args    []string
	env     []string // added to the user's
	stdin   io.Reader
	as      *syscall.Credential
	private bool // what it prints is secret by its nature and is left out of the transcript
}

// outcome is what a program did.
type outcome struct {
	line           string // as it was typed
	code           int    // -1: it did not start, or was killed
	stdout, stderr string
	took           time.Duration
	err            error // why it did not start
}

func (o outcome) String() string {
	return fmt.Sprintf("%s: exit code %d after %s\n--- stdout\n%s--- stderr\n%s", o.line, o.code, o.took.Round(time.Millisecond), o.stdout, o.stderr)
}

// all is both streams.
func (o outcome) all() string { return o.stdout + o.stderr }

// perch runs perch in a folder and wants it to succeed.
func (u *user) perch(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	return u.want(t, 0, command{dir: dir, args: args})
}

// want runs a command and wants that exit code.
func (u *user) want(t *testing.T, code int, c command) outcome {
	t.Helper()
	r := u.exec(t.Context(), c)
	if r.err != nil {
		t.Fatalf("%s: %v", r.line, r.err)
	}
	if r.code != code {
		t.Fatalf("wanted exit code %d: %s", code, r)
	}
	t.Logf("%s (%s)", r.line, r.took.Round(time.Millisecond))
	return r
}

// limit is how long any one command may take before it is taken for hanging.
const limit = 6 * time.Minute

func (u *user) exec(ctx context.Context, c command) outcome {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := u.begin(ctx, c)
	if err != nil {
		return outcome{line: u.line(c), code: -1, err: err}
	}
	return p.end()
}

func (u *user) line(c command) string {
	name := "perch"
	if c.program != "" {
		name = filepath.Base(c.program)
	}
	return strings.Join(append([]string{name}, c.args...), " ")
}

// process is a program that runs.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *buffer
	line           string
	began          time.Time
	said           *transcript
	ended          chan struct{}
	result         outcome
}

// begin starts a program in a process group of its own, as a shell with a terminal does: Ctrl-C goes to all of the group.
func (u *user) begin(ctx context.Context, c command) (*process, error) {
	program := orElse(c.program, u.program)
	cmd := exec.CommandContext(ctx, program, c.args...)
	cmd.Dir, cmd.Env, cmd.Stdin = orElse(c.dir, u.home), append(slices.Clone(u.env), c.env...), c.stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	p := &process{cmd: cmd, line: u.line(c), began: time.Now(), ended: make(chan struct{}), said: u.said, stdout: &buffer{}, stderr: &buffer{}}
	if c.private {
		p.said = &transcript{}
	}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	if err := u.in.start(cmd); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		err := cmd.Wait()
		p.result = outcome{line: p.line, code: cmd.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String(), took: time.Since(p.began)}
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			p.result.stderr += fmt.Sprintf("(%v)\n", err)
		}
		p.said.add(p.result.String())
	}()
	return p, nil
}

// start is begin for a test; the program is ended with the test at the latest.
func (u *user) start(t *testing.T, c command) *process {
	t.Helper()
	p, err := u.begin(t.Context(), c)
	if err != nil {
		t.Fatalf("%s: %v", u.line(c), err)
	}
	t.Cleanup(func() { <-p.ended }) // t's context is done by now, which kills it
	return p
}

// end waits for the program.
func (p *process) end() outcome {
	<-p.ended
	return p.result
}

// endWithin waits for the program, which must have ended by then.
func (p *process) endWithin(t *testing.T, within time.Duration) outcome {
	t.Helper()
	select {
	case <-p.ended:
		return p.result
	case <-time.After(within):
		t.Fatalf("%s runs on after %s\n--- stderr\n%s", p.line, within, p.stderr)
		return outcome{}
	}
}

// says waits until the program has printed the text on stderr or stdout.
func (p *process) says(t *testing.T, within time.Duration, text string) {
	t.Helper()
	eventually(t, within, p.line+" says "+strconv.Quote(text), func(context.Context) error {
		if strings.Contains(p.stderr.String(), text) || strings.Contains(p.stdout.String(), text) {
			return nil
		}
		select {
		case <-p.ended:
			t.Fatalf("it ended before it said %q: %s", text, p.result)
		default:
		}
		return fmt.Errorf("so far it said:\n%s%s", p.stdout, p.stderr)
	})
}

// interrupt is Ctrl-C.
func (p *process) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// kill is kill -9 of the program alone.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// buffer can be read while it is written.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// transcript is everything that programs printed, in the order of their ends.
type transcript struct {
	mu   sync.Mutex
	runs []string
}

func (t *transcript) add(run string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs = append(t.runs, run)
}

func (t *transcript) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.runs)
}

// freePort is a TCP and UDP port that nobody has at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		c, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		_ = l.Close()
		if err == nil {
			_ = c.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
