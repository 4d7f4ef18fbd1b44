package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/perch-k8s/perch/internal/fault"
)

// claimPrefix stands before the cluster's name in the abstract socket that holds it.
const claimPrefix = "@perch/"

// Claim takes the name of a cluster on this machine, so that two nodes of one name in two folders do not take each other's
// cable, table and control groups, which are called after it. The kernel gives the name back when the process ends.
func Claim(ctx context.Context, name string) (release func(), err error) {
	// An abstract socket: it is no file, so that nothing is left to clean up after a kill.
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", claimPrefix+name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fault.New(fault.Locked, "choose another name with --cluster, or stop that one with its PERCH_STATE_DIR",
			"a cluster %q runs on this machine from another folder", name)
	}
	if err != nil {
		return nil, fmt.Errorf("name of cluster %q: %w", name, err)
	}
	return func() { _ = l.Close() }, nil
}

// hostLock is the abstract socket that is held while something is looked at and then changed that all nodes of this
// machine share: subnets and the IP forwarding.
const hostLock = "@perch-host"

// lockHost takes the lock, and waits for it: nobody holds it for longer than it takes to make a cable.
func lockHost(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, hostLockWithin)
	defer cancel()
	for {
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", hostLock)
		if err == nil {
			return sync.OnceFunc(func() { _ = l.Close() }), nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("the lock that nodes share: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Locked, "try again", "another node of this machine is starting or stopping, and does not end")
		case <-time.After(hostLockStep):
		}
	}
}

const (
	hostLockWithin = 20 * time.Second
	hostLockStep   = 5 * time.Millisecond
)

// othersRun tells whether a node of another name runs on this machine: it may need the IP forwarding.
func othersRun(name string) (bool, error) {
	running, err := Claimed()
	return slices.ContainsFunc(running, func(other string) bool { return other != name }), err
}
