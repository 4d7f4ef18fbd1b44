package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/perch-k8s/perch/internal/node/systemd"
)

// Cgroups are the control groups of one sandbox: a folder in each hierarchy of the host. A process that was put there
// before it makes a cgroup namespace sees that folder as the root, so that the kubelet, runc and BuildKit can use "/".
type Cgroups struct {
	unified bool     // one v2 hierarchy with the controllers; else v1, with or without a v2 beside it
	roots   []string // mount points on the host, as /sys/fs/cgroup or /sys/fs/cgroup/memory
	path    string   // below each root, as perch/perch
	scope   string   // below each root: where systemd puts the sandbox, as system.slice/perch-perch.scope
}

// Scope is the name of the systemd unit of a sandbox.
func Scope(name string) string { return "perch-" + name + ".scope" }

// HostCgroups finds the control group hierarchies of this machine for a sandbox of that name. mountinfo is the text of
// /proc/self/mountinfo.
func HostCgroups(mountinfo []byte, name string) (Cgroups, error) {
	c := Cgroups{path: filepath.Join("perch", name), scope: filepath.Join(systemd.Slice, Scope(name))}
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if !ok || len(fields) < 5 || !strings.HasPrefix(fields[4], "/sys/fs/cgroup") {
			continue
		}
		if kind == "cgroup2" && fields[4] == "/sys/fs/cgroup" {
			c.unified = true
		}
		if (kind == "cgroup" || kind == "cgroup2") && !slices.Contains(c.roots, fields[4]) {
			c.roots = append(c.roots, fields[4])
		}
	}
	if len(c.roots) == 0 {
		return c, errors.New("no control groups are mounted under /sys/fs/cgroup")
	}
	return c, nil
}

// Version is that of the control groups: 1 also where a version 2 without controllers is beside it.
func (c Cgroups) Version() int {
	if c.unified {
		return 2
	}
	return 1
}

// Controllers are the names of the controllers that this machine offers to the sandbox, sorted.
func (c Cgroups) Controllers() []string {
	var names []string
	for _, root := range c.roots {
		if c.unified {
			data, _ := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
			names = append(names, strings.Fields(string(data))...)
			continue
		}
		names = append(names, strings.Split(filepath.Base(root), ",")...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Join moves the calling process into the folders, and makes those that systemd has not made: all of them where it is not
// the init, and in version 1 those of hierarchies that it leaves to others (cpuset, freezer, hugetlb). A child that the
// process then starts with a new cgroup namespace has them as its root. Call Leave once the child runs.
func (c Cgroups) Join() error {
	for _, root := range c.roots {
		if insideOf(filepath.Join(root, c.scope)) {
			continue // systemd has moved it there
		}
		if err := c.make(root); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(root, c.path, "cgroup.procs"), fmt.Sprint(os.Getpid())); err != nil {
			return err
		}
	}
	return nil
}

// make makes the folder in one hierarchy.
func (c Cgroups) make(root string) error {
	dir := filepath.Join(root, c.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("control group %s: %w", dir, err)
	}
	if filepath.Base(root) == "cpuset" {
		return inheritCpuset(root, c.path)
	}
	if c.unified {
		return errors.Join(enableControllers(root), enableControllers(filepath.Dir(dir)))
	}
	return nil
}

// Leave moves the calling process out of the folder that is the sandbox's root into a leaf of it: in version 2 a folder
// that hands controllers down may hold no process itself.
func (c Cgroups) Leave() error {
	if !c.unified {
		return nil
	}
	dir := filepath.Join(c.roots[0], c.scope)
	if !insideOf(dir) {
		dir = filepath.Join(c.roots[0], c.path)
	}
	return moveToLeaf(dir, "supervisor")
}

// Settle is Leave for the first process, seen from inside: it then hands the controllers down to the pods.
func (c Cgroups) Settle() error {
	if !c.unified {
		return nil
	}
	if err := moveToLeaf(c.roots[0], "init"); err != nil {
		return err
	}
	return enableControllers(c.roots[0])
}

// moveToLeaf moves the calling process into a child of the folder dir.
func moveToLeaf(dir, leaf string) error {
	if err := os.MkdirAll(filepath.Join(dir, leaf), 0o755); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, leaf, "cgroup.procs"), fmt.Sprint(os.Getpid()))
}

func enableControllers(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(data)) {
		err := writeFile(filepath.Join(dir, "cgroup.subtree_control"), "+"+name)
		if err != nil && slices.Contains(requiredControllers(), name) {
			return err
		}
	}
	return nil
}

// requiredControllers are those without which the kubelet does not start.
func requiredControllers() []string { return []string{"cpu", "memory", "pids"} }

// Missing are the required controllers that this machine does not offer, sorted.
func (c Cgroups) Missing() []string {
	have := c.Controllers()
	var missing []string
	for _, name := range requiredControllers() {
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// folders are all that there may be of the sandbox, wherever it was put.
func (c Cgroups) folders() []string {
	var all []string
	for _, root := range c.roots {
		all = append(all, filepath.Join(root, c.path), filepath.Join(root, c.scope))
	}
	return all
}

// Kill ends every process that is still in the sandbox's control groups, but not the caller.
func (c Cgroups) Kill() {
	for _, dir := range c.folders() {
		for _, pid := range processesIn(dir) {
			if pid != os.Getpid() && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// Remove moves the caller back to the root of each hierarchy where it is in the sandbox's folder, and removes the
// folders. Processes that were just killed keep a folder busy for a moment: it waits for them until the deadline.
func (c Cgroups) Remove(deadline time.Duration) error {
	var errs []error
	for _, dir := range c.folders() {
		if insideOf(dir) {
			root := filepath.Dir(filepath.Dir(dir))
			_ = writeFile(filepath.Join(root, "cgroup.procs"), fmt.Sprint(os.Getpid()))
		}
		errs = append(errs, removeTree(dir, time.Now().Add(deadline)))
	}
	for _, root := range c.roots {
		_ = os.Remove(filepath.Join(root, filepath.Dir(c.path))) // the folder of all sandboxes, when this was the last
	}
	return errors.Join(errs...)
}

// insideOf tells whether the calling process is in a control group or in one below it.
func insideOf(dir string) bool { return slices.Contains(processesIn(dir), os.Getpid()) }

// processesIn are the processes in a control group and in those below it; 0 is one outside this PID namespace.
func processesIn(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeTree removes a control group and those below it: only rmdir works there.
func removeTree(dir string, deadline time.Time) error {
	for {
		var folders []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		var last error
		for _, folder := range slices.Backward(folders) {
			if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, syscall.ENOENT) {
				last = fmt.Errorf("control group %s: %w", folder, err)
			}
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// inheritCpuset fills the two files that a version 1 cpuset needs before it takes a process, level by level.
func inheritCpuset(root, path string) error {
	dir := root
	for part := range strings.SplitSeq(path, "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(parent, name))
			if err != nil {
				return err
			}
			if err := writeFile(filepath.Join(dir, name), strings.TrimSpace(string(value))); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}
