// Package preflight looks for what the node needs of this machine before anything is changed, and names everything that
// is missing at once, each with the command that mends it. It changes nothing.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

// Finding is one thing that is missing or risky.
type Finding struct {
	What  string // what was found, lower case
	Hint  string // what mends it
	Fatal bool   // the node cannot run so
}

// minFree is the disk space below which starting makes no sense: images and etcd would fail in the middle.
const minFree = 1 << 30

// Check looks at everything. dir is the node's folder, which need not exist.
func Check(ctx context.Context, dir string) []Finding {
	if os.Geteuid() != 0 {
		return []Finding{{Fatal: true, What: "the node needs root, to make namespaces and mounts", Hint: "run the command with sudo"}}
	}
	checks := []func() *Finding{
		func() *Finding { return checkProgram(ctx, "nft", "nftables") },
		checkNamespaces,
		checkCgroups,
		checkOverlay,
		func() *Finding { return checkFolder(dir) },
		func() *Finding { return checkDisk(dir) },
		func() *Finding { return checkSocketPath(dir) },
		func() *Finding { return checkLimit("fs.inotify.max_user_instances", 128) },
		func() *Finding { return checkLimit("fs.inotify.max_user_watches", 8192) },
	}
	var findings []Finding
	for _, check := range checks {
		if f := check(); f != nil {
			findings = append(findings, *f)
		}
	}
	return findings
}

// Error joins the fatal findings into one failure, nil when there is none.
func Error(findings []Finding) error {
	var what, hints []string
	for _, f := range findings {
		if f.Fatal {
			what = append(what, f.What)
			if f.Hint != "" && !slices.Contains(hints, f.Hint) {
				hints = append(hints, f.Hint)
			}
		}
	}
	if len(what) == 0 {
		return nil
	}
	return fault.New(fault.Other, strings.Join(hints, "; "), "this machine cannot run the node: %s", strings.Join(what, "; "))
}

func checkProgram(ctx context.Context, name, debianPackage string) *Finding {
	if _, err := exec.LookPath(name); err != nil {
		return &Finding{Fatal: true, What: fmt.Sprintf("the program %s is missing", name), Hint: "apt-get install " + debianPackage}
	}
	out, err := exec.CommandContext(ctx, name, "list", "tables").CombinedOutput()
	if err != nil {
		return &Finding{Fatal: true, What: fmt.Sprintf("nft cannot reach the kernel's tables: %s", strings.TrimSpace(string(out))), Hint: "modprobe nf_tables"}
	}
	return nil
}

func checkNamespaces() *Finding {
	for _, name := range []string{"pid", "net", "mnt", "uts", "ipc", "cgroup"} {
		if _, err := os.Stat("/proc/self/ns/" + name); err != nil {
			return &Finding{Fatal: true, What: fmt.Sprintf("the kernel has no %s namespaces", name), Hint: "use a kernel with CONFIG_NAMESPACES and CONFIG_CGROUPS"}
		}
	}
	return nil
}

func checkCgroups() *Finding {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return &Finding{Fatal: true, What: err.Error()}
	}
	groups, err := sandbox.HostCgroups(mountinfo, "preflight")
	if err != nil {
		return &Finding{Fatal: true, What: err.Error(), Hint: "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	if missing := groups.Missing(); len(missing) > 0 {
		return &Finding{Fatal: true, What: "the control group controllers " + strings.Join(missing, ", ") + " are missing", Hint: "boot the kernel with cgroup_enable=memory"}
	}
	return nil
}

func checkOverlay() *Finding {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil || strings.Contains(string(data), "\toverlay\n") {
		return nil
	}
	if exec.Command("modprobe", "overlay").Run() == nil {
		return nil
	}
	return &Finding{Fatal: true, What: "the kernel has no overlayfs", Hint: "modprobe overlay"}
}

// checkFolder refuses file systems on which overlayfs cannot put its upper layer.
func checkFolder(dir string) *Finding {
	existing, err := existingParent(dir)
	if err != nil {
		return &Finding{Fatal: true, What: err.Error()}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(existing, &fs); err != nil {
		return &Finding{Fatal: true, What: fmt.Sprintf("%s: %v", existing, err)}
	}
	names := map[int64]string{unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "NFS", unix.RAMFS_MAGIC: "ramfs", 0x01021997: "9p"}
	if name, bad := names[int64(fs.Type)]; bad {
		return &Finding{
			Fatal: true, What: fmt.Sprintf("%s is on %s, where images cannot be unpacked", dir, name),
			Hint: "set PERCH_STATE_DIR to a folder on ext4, xfs or btrfs",
		}
	}
	return nil
}

func checkDisk(dir string) *Finding {
	existing, err := existingParent(dir)
	if err != nil {
		return nil // checkFolder told it
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(existing, &fs); err != nil {
		return nil
	}
	if free := uint64(fs.Bavail) * uint64(fs.Bsize); free < minFree {
		return &Finding{
			Fatal: true, What: fmt.Sprintf("the disk of %s is full: %d MiB are free, %d MiB are needed", dir, free>>20, minFree>>20),
			Hint: "free some space, or set PERCH_STATE_DIR to a folder on another disk",
		}
	}
	return nil
}

// longestSocket is the longest name below the node's folder that must fit into a socket address (108 bytes).
const longestSocket = "/run/containerd.sock.ttrpc"

func checkSocketPath(dir string) *Finding {
	if len(dir)+len(longestSocket) < 108 {
		return nil
	}
	return &Finding{Fatal: true, What: fmt.Sprintf("the path %s is too long for sockets in it", dir), Hint: "set PERCH_STATE_DIR to a shorter path"}
}

func checkLimit(name string, least int) *Finding {
	data, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return nil
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || value >= least {
		return nil
	}
	return &Finding{What: fmt.Sprintf("%s is %d: log following may fail", name, value), Hint: fmt.Sprintf("sysctl %s=%d", name, 4*least)}
}

func existingParent(dir string) (string, error) {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == "/" {
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}
