package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// Annotations of the Lease, beside its holderIdentity.
const (
	lockCommit  = "perch.dev/commit"  // what the holder deploys, when that is known
	lockProcess = "perch.dev/process" // the holder's process: boot, PID namespace and start
)

// Holder says who holds the deploy lock.
type Holder struct {
	User   string // "" when it is not known
	Host   string
	PID    int
	Commit string // of the project that is deployed; "" when it is not known. It is no part of the identity
}

// String is the Lease's holderIdentity: "USER@HOST PID".
func (h Holder) String() string { return h.place() + " " + strconv.Itoa(h.PID) }

func (h Holder) place() string {
	if h.User == "" {
		return h.Host
	}
	return h.User + "@" + h.Host
}

func parseHolder(s string) Holder {
	place, pid, _ := strings.Cut(s, " ")
	h := Holder{Host: place}
	if i := strings.LastIndexByte(place, '@'); i >= 0 {
		h.User, h.Host = place[:i], place[i+1:]
	}
	h.PID, _ = strconv.Atoi(pid)
	return h
}

// orThis is h, or this process when h has none.
func (h Holder) orThis() Holder {
	if h.Host != "" || h.PID != 0 {
		return h
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	this := Holder{Host: host, PID: os.Getpid(), Commit: h.Commit, User: h.User}
	if who, err := user.Current(); err == nil && this.User == "" {
		this.User = who.Username
	}
	return this
}

// tenure is what a Lease says of its holder.
type tenure struct {
	Holder
	process  string
	acquired time.Time // zero when it is not said
	renewed  time.Time
}

// tenureOf is nil for a Lease that nobody holds.
func tenureOf(lease *coordinationv1.Lease) *tenure {
	s := lease.Spec
	if s.HolderIdentity == nil || *s.HolderIdentity == "" || s.RenewTime == nil {
		return nil
	}
	t := &tenure{Holder: parseHolder(*s.HolderIdentity), process: lease.Annotations[lockProcess], renewed: s.RenewTime.Time}
	t.Commit = lease.Annotations[lockCommit]
	if s.AcquireTime != nil {
		t.acquired = s.AcquireTime.Time
	}
	return t
}

// text names the holder for people: process 7 of root on host, which deploys commit 1a2b3c4, begun 12s ago.
func (t *tenure) text(now time.Time) string {
	text := fmt.Sprintf("process %d on %s", t.PID, t.Host)
	if t.User != "" {
		text = fmt.Sprintf("process %d of %s on %s", t.PID, t.User, t.Host)
	}
	if t.Commit != "" {
		text += ", which deploys commit " + t.Commit
	}
	if !t.acquired.IsZero() {
		text += fmt.Sprintf(", begun %s ago", max(0, now.Sub(t.acquired)).Round(time.Second))
	}
	return text
}

// life is what is known of a holder.
type life int

const (
	unknown life = iota // on another machine, or of another kind: its heartbeat tells
	alive               // a process of this machine that is there
	dead                // a process of this machine that is gone
)

// life looks at the holder's process, when it is one of this machine.
func (t *tenure) life() life {
	mine := processOf(os.Getpid())
	machine := func(process string) string { m, _, _ := strings.Cut(process, " "); return m }
	if mine == "" || t.PID <= 0 || machine(t.process) != machine(mine) {
		return unknown
	}
	switch now := processOf(t.PID); {
	case now == t.process:
		return alive
	case now != "", errors.Is(syscall.Kill(t.PID, 0), syscall.ESRCH):
		return dead // another process has its number, or none
	}
	return unknown
}

// processOf tells a process of this machine from any other, also from one that gets its number later: "BOOT/PIDNS START".
// Numbers of processes mean the same within one PID namespace only. "" when there is no such process.
func processOf(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name, in parentheses, may hold anything. After it come the state, field 3, and later the start, field 22: proc(5).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fmt.Sprintf("%s/%s %s", strings.TrimSpace(string(boot)), strings.Trim(strings.TrimPrefix(namespace, "pid:"), "[]"), fields[19])
}

// pause waits, or returns the cause for which ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
