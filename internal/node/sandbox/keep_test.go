package sandbox

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorded collects events and lets a test wait for one.
type recorded struct {
	mu     sync.Mutex
	events []Event
	more   chan struct{}
}

func newRecorded() *recorded { return &recorded{more: make(chan struct{}, 1000)} }

func (r *recorded) report(e Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	r.more <- struct{}{}
}

// await waits until the nth event (from 1) of that state has come.
func (r *recorded) await(t *testing.T, s State, nth int) Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		seen := 0
		for _, e := range r.events {
			if e.State == s {
				if seen++; seen == nth {
					r.mu.Unlock()
					return e
				}
			}
		}
		r.mu.Unlock()
		select {
		case <-r.more:
		case <-deadline:
			t.Fatalf("no %s event number %d in %v", s, nth, r.events)
		}
	}
}

func startKeeping(t *testing.T, k Keeper, c Child) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Keep(ctx, c) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// One test, since a Reaper waits for every child of the process: two at once would take each other's.
func TestKeep(t *testing.T) {
	reaper := NewReaper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go reaper.Run(ctx)
	sh := func(script string) Child {
		return Child{
			Name: "child", Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
			Log: filepath.Join(t.TempDir(), "child.log"), Grace: 10 * time.Second,
		}
	}
	t.Run("a child that dies is started again", func(t *testing.T) {
		r := newRecorded()
		stop := startKeeping(t, Keeper{Reaper: reaper, Report: r.report}, sh("echo last words >&2; exit 3"))
		e := r.await(t, Exited, 1)
		if !strings.Contains(e.Error, "exit code 3") || !strings.Contains(e.Error, "last words") {
			t.Errorf("error %q does not tell the exit code and the last line", e.Error)
		}
		r.await(t, Running, 2)
		_ = stop()
	})
	t.Run("a child that always dies is given up", func(t *testing.T) {
		r := newRecorded()
		err := Keeper{Reaper: reaper, Report: r.report}.Keep(t.Context(), sh("kill -9 $$"))
		if err == nil || !strings.Contains(err.Error(), "signal 9") {
			t.Errorf("got %v, want an error that names the signal", err)
		}
		r.await(t, Failed, 1)
	})
	t.Run("a child that always dies is not given up when there is an excuse", func(t *testing.T) {
		r := newRecorded()
		excuse := errors.New("the disk is full")
		k := Keeper{Reaper: reaper, Report: r.report, Excuse: func() error { return excuse }}
		stop := startKeeping(t, k, sh("exit 3"))
		if e := r.await(t, Exited, maxRestarts+1); !strings.Contains(e.Error, "the disk is full") || !strings.Contains(e.Error, "exit code 3") {
			t.Errorf("error %q tells neither the excuse nor the exit code", e.Error)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a program that is not there is given up", func(t *testing.T) {
		r := newRecorded()
		c := sh("")
		c.Args = []string{"/no/such/program"}
		if err := (Keeper{Reaper: reaper, Report: r.report}).Keep(t.Context(), c); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
			t.Errorf("got %v, want an error that names the program", err)
		}
	})
	t.Run("stop asks with SIGTERM", func(t *testing.T) {
		r := newRecorded()
		c := sh(`trap 'echo bye; exit 0' TERM; echo up; while :; do read x < /proc/self/fd/3; done`)
		hold, _, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Files = []*os.File{hold}
		stop := startKeeping(t, Keeper{Reaper: reaper, Report: r.report}, c)
		r.await(t, Running, 1)
		awaitLog(t, c.Log, "up")
		if err := stop(); err != nil {
			t.Error(err)
		}
		awaitLog(t, c.Log, "bye")
		r.await(t, Stopped, 1)
	})
	t.Run("stop forces a child that does not listen", func(t *testing.T) {
		r := newRecorded()
		c := sh(`trap '' TERM; echo up; while :; do sleep 100; done`)
		c.Grace = 50 * time.Millisecond
		stop := startKeeping(t, Keeper{Reaper: reaper, Report: r.report}, c)
		awaitLog(t, c.Log, "up")
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("on demand", func(t *testing.T) {
		r := newRecorded()
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		file, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		c := sh("exit 0")
		c.OnDemand = file
		stop := startKeeping(t, Keeper{Reaper: reaper, Report: r.report}, c)
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		r.await(t, Running, 1)
		r.await(t, Stopped, 1) // its end is no failure
		_ = conn.Close()
		_ = l.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("children stop in order", func(t *testing.T) {
		r := newRecorded()
		var children []Child
		for _, name := range []string{"first", "second", "third"} {
			c := sh("while :; do sleep 100; done")
			c.Name = name
			children = append(children, c)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		var stopped []string
		go func() {
			ended <- KeepAll(ctx, Keeper{Reaper: reaper, Report: r.report}, children, func(name string) { stopped = append(stopped, name) })
		}()
		r.await(t, Running, 3)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := strings.Join(stopped, " "); got != "first second third" {
			t.Errorf("stopped %q", got)
		}
	})
}

func awaitLog(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		data, _ := os.ReadFile(path)
		if strings.Contains(string(data), text) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("%s never held %q", path, text)
}

func TestHostCgroups(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		mountinfo string
		unified   bool
		roots     string
	}{
		"v2":     {"30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", true, "/sys/fs/cgroup"},
		"hybrid": {"25 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n26 25 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n27 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", false, "/sys/fs/cgroup/cpu /sys/fs/cgroup/unified"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := HostCgroups([]byte(test.mountinfo), "perch")
			if err != nil {
				t.Fatal(err)
			}
			if c.unified != test.unified || strings.Join(c.roots, " ") != test.roots {
				t.Errorf("got unified %v, roots %v", c.unified, c.roots)
			}
		})
	}
	if _, err := HostCgroups([]byte("25 24 0:22 / /proc rw - proc proc rw\n"), "perch"); err == nil {
		t.Error("no control groups is no error")
	}
}
