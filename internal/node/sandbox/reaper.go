package sandbox

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Reaper waits for every child of the first process: those it started, and the orphans that the kernel gives it (shims,
// and whatever a pod left behind). Package os/exec must not be used beside it: both would wait for the same child.
type Reaper struct {
	mu      sync.Mutex // held over fork and registration, so that an end is never seen before its start
	waiting map[int]chan<- syscall.WaitStatus
}

// NewReaper returns a Reaper; Run must be called for it to work.
func NewReaper() *Reaper { return &Reaper{waiting: map[int]chan<- syscall.WaitStatus{}} }

// Start starts a program and returns its process ID and a channel that gets its end once.
func (r *Reaper) Start(argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, nil, &os.PathError{Op: "start", Path: argv[0], Err: err}
	}
	done := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = done
	return pid, done, nil
}

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		r.reap()
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
	}
}

func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if done, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			done <- status
		}
	}
}
