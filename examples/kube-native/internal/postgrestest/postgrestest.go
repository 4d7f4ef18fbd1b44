// Package postgrestest runs a real PostgreSQL for a test, in a folder of its own and on a Unix socket only. Nothing but
// tests may import it.
package postgrestest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// User is the superuser of the server.
const User = "kube-native"

// Server is a PostgreSQL server that can be started and stopped.
type Server struct {
	bin, dir   string
	credential *syscall.Credential // nil: our own; PostgreSQL refuses to run as root
	process    *os.Process         // nil: not running
	ended      chan struct{}       // closed when process was waited for
	log        bytes.Buffer
}

// New makes the data folder but does not start the server. The test is skipped, with the reason, where PostgreSQL is not
// installed. The server is stopped and its folder removed when the test ends.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{bin: binaries(t), credential: unprivileged(t)}
	// Not t.TempDir: no other user can enter that, and the path of a socket must be short.
	dir, err := os.MkdirTemp("/tmp", "pg-")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(func() {
		s.Stop(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if s.credential != nil {
		if err := os.Chown(dir, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	initdb := s.command("initdb", "--no-sync", "--auth=trust", "--username="+User, "--encoding=UTF8", "--locale=C", s.data())
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return s
}

// Start runs the server and returns when it answers.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	command := s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off")
	command.Stdout, command.Stderr = &s.log, &s.log
	command.SysProcAttr.Pdeathsig = syscall.SIGQUIT // a killed test leaves no server behind
	started := make(chan error)
	s.ended = make(chan struct{})
	go func() {
		// The parent of Pdeathsig is a thread, which must live as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
			close(s.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.process = command.Process
	s.waitReady(t)
}

func (s *Server) waitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := s.run(ctx, "postgres", "SELECT 1")
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.ended:
			t.Fatalf("postgres ended:\n%s", s.log.String())
		case <-ctx.Done():
			s.Stop(t)
			t.Fatalf("postgres does not answer: %v\n%s", err, s.log.String())
		}
	}
}

// Stop ends the server if it runs, and waits for that.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Signal(syscall.SIGINT); err != nil { // "fast": clients are disconnected
		t.Error(err)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		t.Error("postgres did not stop in 20 s and is killed")
		_ = s.process.Kill()
		<-s.ended
	}
	s.process = nil
}

// Create makes an empty database and returns its URL.
func (s *Server) Create(t *testing.T, database string) string {
	t.Helper()
	if err := s.run(t.Context(), "postgres", fmt.Sprintf(`CREATE DATABASE %q`, database)); err != nil {
		t.Fatal(err)
	}
	return s.URL(database)
}

// URL of a database, whether it is there or not. It has a password, which the server does not ask for.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@/%s?host=%s", User, Password, database, s.dir)
}

// Password is in every URL, so that a test can look for it where it must not be.
const Password = "correct-horse"

func (s *Server) run(ctx context.Context, database, sql string) error {
	connection, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, sql)
	_ = connection.Close(ctx)
	return err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.bin, name), args...)
	command.Dir = s.dir
	command.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return command
}

// binaries finds the newest server that Debian or PATH has.
func binaries(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("PostgreSQL is not installed: apt-get install postgresql")
	}
	major := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) }))
}

// unprivileged is the user nobody when we are root, since PostgreSQL refuses to run as root.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("PostgreSQL does not run as root, and there is no other user: %v", err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// FreePort is a TCP port that nobody listened on a moment ago.
func FreePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
