package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	maxRestarts  = 5                // ends in a row, each within steadyAfter of its start, before a child is given up
	steadyAfter  = 30 * time.Second // a child that ran so long is forgiven its earlier ends
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 5 * time.Second
	logSize      = 10 // MiB, and one older file beside it
	lastLines    = 5  // of a child's log in the error of its end
)

// Keeper keeps children running and tells of their changes.
type Keeper struct {
	Reaper *Reaper
	Report func(Event)  // may be called by several goroutines
	Excuse func() error // optional: what a child that ended now may have ended of, other than itself; nil: nothing
}

// Keep runs the child again and again until ctx ends, then stops it and returns nil. It returns an error when the child
// ended too often, without an excuse.
func (k Keeper) Keep(ctx context.Context, c Child) error {
	log := &lumberjack.Logger{Filename: c.Log, MaxSize: logSize, MaxBackups: 1}
	defer func() { _ = log.Close() }()
	backoff, ends := firstBackoff, 0
	for {
		if c.OnDemand != nil && !waitReadable(ctx, c.OnDemand) {
			return nil
		}
		started := time.Now()
		tail, err := k.once(ctx, c, log)
		if ctx.Err() != nil {
			k.event(c.Name, Stopped, 0, "")
			return nil
		}
		if c.OnDemand != nil && err == nil {
			k.event(c.Name, Stopped, 0, "")
			continue
		}
		if time.Since(started) > steadyAfter {
			backoff, ends = firstBackoff, 0
		}
		why := strings.Join(append([]string{exitText(err)}, tail...), "\n")
		if excuse := k.excuse(); excuse != nil {
			why, ends = excuse.Error()+"\n"+why, 0
		}
		if ends++; ends >= maxRestarts {
			k.event(c.Name, Failed, 0, why)
			return fmt.Errorf("%s ended %d times in a row: %s", c.Name, ends, why)
		}
		k.event(c.Name, Exited, 0, why)
		if !pause(ctx, backoff) {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (k Keeper) excuse() error {
	if k.Excuse == nil {
		return nil
	}
	return k.Excuse()
}

func exitText(err error) string {
	if err == nil {
		return "it ended with exit code 0"
	}
	return err.Error()
}

func (k Keeper) event(name string, s State, pid int, why string) {
	k.Report(Event{Component: name, State: s, PID: pid, Error: why, Time: time.Now()})
}

// once runs the child one time and returns the last lines of its output.
func (k Keeper) once(ctx context.Context, c Child, log io.Writer) ([]string, error) {
	k.event(c.Name, Starting, 0, "")
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = read.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	defer func() { _ = null.Close() }()
	files := []uintptr{null.Fd(), write.Fd(), write.Fd()}
	for _, f := range c.Files {
		files = append(files, f.Fd())
	}
	if c.OnDemand != nil {
		files = append(files, c.OnDemand.Fd())
	}
	pid, done, err := k.Reaper.Start(c.Args, &syscall.ProcAttr{Dir: "/", Env: c.Env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true}})
	_ = write.Close()
	if err != nil {
		return nil, err
	}
	k.event(c.Name, Running, pid, "")
	tail := make(chan []string, 1)
	go func() { tail <- copyLines(log, read) }()
	status := stopWhenDone(ctx, pid, c.Grace, done)
	// A grandchild may hold the pipe open: what it still writes is of no use here.
	_ = read.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	return <-tail, endOf(status)
}

// stopWhenDone waits for the end of pid; when ctx ends first it asks, then forces.
func stopWhenDone(ctx context.Context, pid int, grace time.Duration, done <-chan syscall.WaitStatus) syscall.WaitStatus {
	select {
	case status := <-done:
		return status
	case <-ctx.Done():
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case status := <-done:
		return status
	case <-time.After(grace):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return <-done
}

func endOf(s syscall.WaitStatus) error {
	switch {
	case s.Signaled():
		return fmt.Errorf("it was ended by signal %d (%s)", s.Signal(), s.Signal())
	case s.ExitStatus() != 0:
		return fmt.Errorf("it ended with exit code %d", s.ExitStatus())
	}
	return nil
}

// copyLines copies to the log and returns the last lines that were not empty.
func copyLines(log io.Writer, from io.Reader) []string {
	var last []string
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			_, _ = io.WriteString(log, line) // a full disk must not stop the child
		}
		if text := strings.TrimSpace(line); text != "" {
			last = append(last, text)
			last = last[max(0, len(last)-lastLines):]
		}
		if err != nil {
			return last
		}
	}
}

// waitReadable waits until a connection waits on the socket, without taking it. It returns false when ctx ends.
func waitReadable(ctx context.Context, socket *os.File) bool {
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(socket.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 500) // half a second: so long may a stop wait for it
		if n > 0 && err == nil && fds[0].Revents&unix.POLLIN != 0 {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
