package supervisor

import (
	"context"
	"fmt"
	"os"

	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/systemd"
)

// ownGroups sees to it that nothing of a killed run is in the way, and puts this process into control groups of the node's
// own. Where systemd is the init they are a scope of it, and it is systemd that may ask for the end; release lets go of it.
// docs/decisions/0017 says why.
func (s *supervisor) ownGroups(ctx context.Context) (release func(), err error) {
	if s.groups, err = hostGroups(s.Layout.Name); err != nil {
		return nil, err
	}
	s.groups.Kill()
	if err := s.groups.Remove(groupsAfter); err != nil {
		return nil, err
	}
	release = func() {}
	if systemd.Booted() {
		ctx, cancel := context.WithTimeoutCause(ctx, scopeWithin, fmt.Errorf("no answer within %s", scopeWithin))
		defer cancel()
		left, err := s.scope().Start(ctx, func() { s.stop(nil) })
		if err == nil {
			release = left
		}
		s.report("systemd", err) // without its help the groups are made below the root, where it leaves them alone
	}
	return release, s.groups.Join()
}

func (s *supervisor) scope() systemd.Scope {
	return systemd.Scope{
		Name:        sandbox.Scope(s.Layout.Name),
		Description: fmt.Sprintf("Kubernetes of perch, cluster %q", s.Layout.Name),
		PID:         os.Getpid(),
		Dir:         s.Layout.Dir,
		StopWithin:  stopWithin + 2*groupsAfter,
	}
}

// hostGroups are the control groups of a cluster on this machine.
func hostGroups(name string) (sandbox.Cgroups, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return sandbox.Cgroups{}, err
	}
	return sandbox.HostCgroups(mountinfo, name)
}
