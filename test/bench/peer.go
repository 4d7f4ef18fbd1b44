package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apart is the end of the names of figures of what perch stands beside: the same components, each a program of its own,
// brought up by a script (peer/up.sh) in namespaces like those of perch's node.
const apart = ", as separate processes"

// peer is such a Kubernetes, from its start to its end.
type peer struct {
	programs string // folder of the components (tools/bench-peer.sh)
	script   string // peer/up.sh
	dir      string // its state, on the disk where clusters of perch are too
	cmd      *exec.Cmd
	said     bytes.Buffer
	ended    chan struct{} // closed when the script has ended
}

// newPeer makes the empty folder of one. end takes it away.
func (b *bench) newPeer() (*peer, error) {
	dir, err := os.MkdirTemp("/var/lib", "perch-bench-peer-")
	return &peer{programs: b.programs, script: b.script, dir: dir}, err
}

// start runs the script and returns when it has started everything, as a command would that did it.
func (p *peer) start(ctx context.Context) error {
	// Not bound to the context of this call: it goes on when that ends.
	p.cmd = exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", p.script, p.programs, p.dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // what it said says why
		close(p.ended)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(p.dir, "up")); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended:\n%s", p.script, p.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s: not up: %w", p.script, context.Cause(ctx))
		}
	}
}

// end kills everything of it and removes what is left: its folder, and the groups that the kernel keeps.
func (p *peer) end(ctx context.Context) error {
	var errs []error
	if p.ended != nil {
		if err := p.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		<-p.ended
	}
	for _, what := range [][]string{
		{"find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/perch-bench-peer*", "-exec", "rmdir", "{}", "+"},
		{"rm", "-rf", p.dir},
	} {
		errs = append(errs, again(ctx, what))
	}
	return errors.Join(errs...)
}

// again runs a command until it works: killed processes take a moment to be gone.
func again(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
}

// inside is a program of its folder, run in its namespaces.
func (p *peer) inside(name string, args ...string) program {
	enter := []string{"--mount", "--net", "--target", strconv.Itoa(p.first()), "--", filepath.Join(p.programs, name)}
	return program{path: "nsenter", before: append(enter, args...), env: os.Environ()}
}

// first is the script's process, as this machine counts: the child of unshare.
func (p *peer) first() int {
	all, err := procFS("/proc").all()
	if err != nil || p.cmd == nil {
		return 0
	}
	at := slices.IndexFunc(all, func(one process) bool { return one.parent == p.cmd.Process.Pid })
	if at < 0 {
		return 0
	}
	return all[at].pid
}

// kubernetes is the peer as the measurements of perch's node take it. Its kubectl is known once it runs.
func (p *peer) kubernetes() *kubernetes {
	k := &kubernetes{suffix: apart}
	k.start = func(ctx context.Context) error {
		if err := p.start(ctx); err != nil {
			return err
		}
		k.kubectl = p.inside("kubectl", "--kubeconfig", filepath.Join(p.dir, "admin.conf"))
		return nil
	}
	k.load = func(ctx context.Context, archive string) error {
		return errOf(p.inside("ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", "images", "import").run(ctx, archive))
	}
	return k
}

// besidePeer measures something on a new peer, and takes it away.
func (b *bench) besidePeer(ctx context.Context, measure func(*peer) error) (err error) {
	p, err := b.newPeer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.end(context.WithoutCancel(ctx))) }()
	return measure(p)
}

// peerTimeToK8s measures the six phases of the peer.
func (b *bench) peerTimeToK8s(ctx context.Context, r *report) error {
	if err := b.buildImages(ctx); err != nil {
		return err
	}
	for range b.rounds {
		err := b.besidePeer(ctx, func(p *peer) error { return b.sixPhases(ctx, r, p.kubernetes()) })
		if err != nil {
			return err
		}
	}
	r.compare(sixPhases, sixPhases+apart)
	return nil
}

// peerIdle takes memory and CPU time of a peer that has nothing deployed, once it is as ready as perch's node is.
func (b *bench) peerIdle(ctx context.Context, r *report) error {
	return b.besidePeer(ctx, func(p *peer) error {
		k := p.kubernetes()
		for _, s := range []stage{
			{"command", k.start, nil, ""},
			{"node ready", nil, []string{"get", "nodes"}, " Ready"},
		} {
			if err := reach(ctx, k.kubectl, s); err != nil {
				return err
			}
		}
		list := func() ([]process, error) {
			all, err := b.proc.all()
			return treeOf(all, p.cmd.Process.Pid), err
		}
		if err := b.idleOf(ctx, r, emptyNode+apart, list); err != nil {
			return err
		}
		for _, figure := range []string{memoryOf, cpuOf} {
			r.compare(emptyNode+figure, emptyNode+apart+figure)
		}
		return nil
	})
}
