package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// host is what a node may leave behind on this machine. Other nodes may run beside ours while the tests do, so what bears
// another cluster's name does not count.
type host struct {
	mounts     []string
	links      []string
	tables     []string // of nft
	groups     []string // control groups of the cluster, and what should be in them but is not
	processes  []string
	forwarding string // IP forwarding, and the mark of who switched it on
	others     bool   // another node runs: it may have switched forwarding
}

// look takes stock of the machine.
func (u *user) look(ctx context.Context) (host, error) {
	var h host
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return h, err
	}
	lines := bufio.NewScanner(bytes.NewReader(mounts))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 4 {
			h.mounts = append(h.mounts, f[4])
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return h, err
	}
	for _, i := range interfaces {
		h.links = append(h.links, i.Name)
	}
	tables, err := exec.CommandContext(ctx, "nft", "list", "tables").Output()
	if err != nil {
		return h, fmt.Errorf("nft list tables: %w", err)
	}
	for line := range strings.Lines(string(tables)) {
		h.tables = append(h.tables, strings.TrimSpace(line))
	}
	h.groups = append(u.groups(), strayGroups()...)
	for _, p := range processes() {
		if p.supervises() && !p.supervisesOf(u) {
			h.others = true
		}
		if p.supervisesOf(u) || strings.Contains(strings.Join(p.args, " "), u.dir) {
			h.processes = append(h.processes, p.String())
		}
	}
	forwarding, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	marks, _ := filepath.Glob("/run/perch*")
	h.forwarding = strings.TrimSpace(string(forwarding) + strings.Join(marks, " "))
	return h, err
}

// mustLook is look for a test.
func (u *user) mustLook(t *testing.T) host {
	t.Helper()
	h, err := u.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// left is what is there and was not before, but for what belongs to another node.
func (h host) left(before host, cluster string) []string {
	var left []string
	add := func(kind string, now, then []string) {
		for _, one := range now {
			foreign := strings.Contains(one, "perch") && !strings.Contains(one, cluster)
			if !slices.Contains(then, one) && !foreign {
				left = append(left, kind+" "+one)
			}
		}
	}
	add("mount", h.mounts, before.mounts)
	add("interface", h.links, before.links)
	add("nft", h.tables, before.tables)
	add("control group", h.groups, before.groups)
	add("process", h.processes, before.processes)
	if h.forwarding != before.forwarding && !h.others && !before.others {
		left = append(left, "ip_forward "+h.forwarding+", was "+before.forwarding)
	}
	return left
}

// leavesNothing waits a moment for the kernel, and then wants the machine to be as before, and the processes to be gone
// that were seen in the sandbox.
func (u *user) leavesNothing(t *testing.T, before host, seen []hostProcess) {
	t.Helper()
	eventually(t, 5*time.Second, "nothing is left on the host", func(ctx context.Context) error {
		now, err := u.look(ctx)
		if err != nil {
			return err
		}
		left := now.left(before, u.cluster)
		for _, p := range seen {
			if p.alive() {
				left = append(left, "process "+p.String())
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left are:\n  %s", strings.Join(left, "\n  "))
		}
		return nil
	})
}

// leavesNoFiles wants the state folder and the folder of temporary files to be gone or empty.
func (u *user) leavesNoFiles(t *testing.T) {
	t.Helper()
	for _, dir := range []string{u.state, u.temp} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && path != dir {
				t.Errorf("the file %s is left", path)
				return fs.SkipAll
			}
			return nil
		})
	}
}

// groups are the control groups of the user's cluster, in all hierarchies.
func (u *user) groups() []string {
	var groups []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		own := strings.Contains(path+"/", "/perch/"+u.cluster+"/") || strings.Contains(path+"/", "/perch-"+u.cluster+".scope/")
		if err == nil && d.IsDir() && own {
			groups = append(groups, path)
		}
		return nil
	})
	return groups
}

// strayGroups are the control groups that kubelet, containerd or BuildKit make when they are not kept in a sandbox.
func strayGroups() []string {
	var groups []string
	for _, name := range []string{"kubepods*", "k8s.io", "buildkit", "system.slice/kubelet*"} {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} { // version 2 and version 1
			found, _ := filepath.Glob(pattern + name)
			groups = append(groups, found...)
		}
	}
	return groups
}

// inside are the processes in the sandbox of the user's cluster, by its control groups, and outside of it the supervisor
// and the shell that watches over it.
func (u *user) inside() []hostProcess {
	in := map[string]bool{}
	for _, group := range u.groups() {
		data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, pid := range strings.Fields(string(data)) {
			in[pid] = true
		}
	}
	return slices.DeleteFunc(processes(), func(p hostProcess) bool { return !in[p.pid] && !p.supervisesOf(u) && !p.watchesOver(u) })
}

// hostProcess is one process as the host sees it.
type hostProcess struct {
	pid, born string // born is its start time: a number is given again, with another one
	args      []string
}

func (p hostProcess) String() string { return p.pid + " " + strings.Join(p.args, " ") }

// alive says whether this very process is still there; a zombie is not.
func (p hostProcess) alive() bool { return p.born != "" && born(p.pid) == p.born }

func (p hostProcess) supervises() bool {
	return len(p.args) > 3 && p.args[1] == "node" && p.args[2] == "supervisor"
}

func (p hostProcess) supervisesOf(u *user) bool {
	return p.supervises() && p.args[3] == u.cluster && slices.Contains(p.args, u.folder())
}

// watchesOver says whether it is the shell that starts the supervisor again.
func (p hostProcess) watchesOver(u *user) bool {
	return p.args[0] == "/bin/sh" && slices.Contains(p.args, "supervisor") && slices.Contains(p.args, u.folder())
}

// is says whether it is the node's process of that role: "kubernetes", "containerd", "init".
func (p hostProcess) is(role string) bool {
	return len(p.args) > 2 && p.args[1] == "node" && p.args[2] == role
}

// processes are all that have a command line.
func processes() []hostProcess {
	entries, _ := os.ReadDir("/proc")
	var all []hostProcess
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && len(data) > 0 {
			args := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
			all = append(all, hostProcess{e.Name(), born(e.Name()), args})
		}
	}
	return all
}

// born is field 22 of /proc/PID/stat, "" when there is no such process or it is a zombie.
func born(pid string) string {
	f := stat(pid)
	if f == nil || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

// parent is the number of the process's parent, "" when there is no such process.
func (p hostProcess) parent() string {
	if f := stat(p.pid); f != nil {
		return f[1]
	}
	return ""
}

// stat are the fields of /proc/PID/stat from the third on, the state; nil when there is no such process.
func stat(pid string) []string {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	if f := strings.Fields(rest); len(f) >= 20 {
		return f
	}
	return nil
}
