package apiserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// writerDir makes this test program the process whose store is looked at while it writes.
const writerDir = "PERCH_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		if err := write(context.Background(), dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// open runs a store and returns a client of it; end stops both.
func open(ctx context.Context, dir string) (c *clientv3.Client, end func() error, err error) {
	sockets, err := os.MkdirTemp("", "store") // a socket's path is short
	if err != nil {
		return nil, nil, err
	}
	e := &Etcd{Dir: dir, SocketDir: sockets, Log: io.Discard}
	if err := e.Init(ctx); err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(running) }()
	end = func() error { stop(); return errors.Join(<-ended, os.RemoveAll(sockets)) }
	select {
	case <-e.opened:
	case err := <-ended:
		stop()
		return nil, nil, err
	}
	c, err = clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + e.Socket()}, Logger: zap.NewNop()})
	if err != nil {
		return nil, nil, fmt.Errorf("%w (%w)", err, end())
	}
	return c, end, nil
}

func key(n int) string { return fmt.Sprintf("/test/%06d", n) }

// write puts one key after the other, and prints the number of each that was acknowledged, until it is killed.
func write(ctx context.Context, dir string, out io.Writer) error {
	c, _, err := open(ctx, dir)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		if _, err := c.Put(ctx, key(n), string(bytes.Repeat([]byte{'x'}, 600+n%3000))); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
	}
}

// TestStoreAfterAPowerCut stops a writer at random moments and copies its store as a power cut would leave it: every write
// that was acknowledged is in the copy. When the end of the log is torn too, nothing but the last write is missing.
func TestStoreAfterAPowerCut(t *testing.T) {
	const cuts = 6
	dir := filepath.Join(t.TempDir(), "store")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // moments, not secrets
	lines := bufio.NewScanner(out)
	acknowledged := 0
	for cut := range cuts {
		for range 20 + random.IntN(60) {
			if !lines.Scan() {
				t.Fatalf("the writer ended: %v", lines.Err())
			}
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // into the midst of a write
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		whole, torn := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "torn")
		for _, to := range []string{whole, torn} {
			if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, fmt.Sprintf("cut %d", cut), whole, acknowledged)
		tear(t, torn)
		wantKeys(t, fmt.Sprintf("cut %d, torn", cut), torn, acknowledged-1)
	}
}

// tear makes zeros of the last sector that was written to the log: it is made long beforehand, so a sector whose write
// never came is zero. Writes here are longer than a sector, which a disk writes wholly or not at all.
func tear(t *testing.T, dir string) {
	t.Helper()
	const sector = 512
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	slices.Sort(logs)
	last := logs[len(logs)-1]
	data, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(data, "\x00"))
	clear(data[(end-1)/sector*sector : end])
	if err := os.WriteFile(last, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantKeys opens the store and wants at least so many keys in it, without a gap.
func wantKeys(t *testing.T, name, dir string, least int) {
	t.Helper()
	c, end, err := open(t.Context(), dir)
	if err != nil {
		t.Errorf("%s: it does not open: %v", name, err)
		return
	}
	defer func() {
		if err := end(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}()
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := c.Get(ctx, "/test/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for i, kv := range got.Kvs {
		if string(kv.Key) != key(i+1) {
			t.Errorf("%s: %s stands in place %d", name, kv.Key, i+1)
			return
		}
	}
	if len(got.Kvs) < least {
		t.Errorf("%s: %d writes were acknowledged, %d are there", name, least, len(got.Kvs))
	}
}
