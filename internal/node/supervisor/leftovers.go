package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

// Leftovers are what supervisors that were killed have left on this machine, and no cluster that runs has. They do no
// harm, and the next start, stop or delete of their cluster removes them too.
func Leftovers(ctx context.Context) ([]network.Leftover, error) {
	running, err := Claimed()
	if err != nil {
		return nil, err
	}
	left, err := network.Leftovers(ctx, running)
	if err != nil {
		return nil, err
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	names, err := sandbox.Strays(mountinfo, running)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		left = append(left, network.Leftover{
			What: "the control groups of cluster " + name, Command: "find /sys/fs/cgroup -depth -type d -path '*/perch/" + name + "*' -exec rmdir {} +",
			Remove: func(context.Context) error { return removeGroups(name) },
		})
	}
	if len(running) == 0 && network.ForwardingMarked() {
		left = append(left, network.Leftover{
			What: "IP forwarding, which a node switched on", Command: "sysctl net.ipv4.ip_forward=0",
			Remove: func(context.Context) error { return network.RestoreForwarding() },
		})
	}
	return left, nil
}

func removeGroups(name string) error {
	groups, err := hostGroups(name)
	if err != nil {
		return err
	}
	return groups.Remove(groupsAfter)
}

// RemoveLeftover removes one of them, unless it has got an owner meanwhile: nobody starts as long as the lock is held that
// nodes share.
func RemoveLeftover(ctx context.Context, one network.Leftover) error {
	unlock, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	left, err := Leftovers(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(left, func(l network.Leftover) bool { return l.What == one.What && l.Command == one.Command })
	if at < 0 {
		return errors.New("it is gone, or has an owner")
	}
	return left[at].Remove(ctx)
}

// Claimed are the names of the clusters that have a supervisor on this machine, sorted.
func Claimed() ([]string, error) {
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(sockets)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), " "+claimPrefix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
