package preflight

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

// namespaces are the kinds that a sandbox is made of, as /proc/self/ns and the limits of /proc/sys/user call them.
func namespaces() []string { return []string{"pid", "net", "mnt", "uts", "ipc", "cgroup"} }

func checkNamespaces(context.Context, Machine) Finding {
	limits := map[string]int{}
	for _, kind := range namespaces() {
		if _, err := os.Stat("/proc/self/ns/" + kind); err != nil {
			continue
		}
		limits[kind] = 1
		if n, err := readInt("/proc/sys/user/max_" + kind + "_namespaces"); err == nil {
			limits[kind] = n
		}
	}
	return judgeNamespaces(limits)
}

// judgeNamespaces takes for each kind that the kernel has how many there may be.
func judgeNamespaces(limits map[string]int) Finding {
	for _, kind := range namespaces() {
		n, has := limits[kind]
		if !has {
			return missing(fmt.Sprintf("the kernel has no %s namespaces", kind), "use a kernel with CONFIG_NAMESPACES and CONFIG_CGROUPS")
		}
		if n < 1 {
			name := "user.max_" + kind + "_namespaces"
			return missing(fmt.Sprintf("no %s namespace may be made: %s is %d", kind, name, n), "sysctl "+name+"=10000")
		}
	}
	return ok("pid, net, mnt, uts, ipc and cgroup")
}

func checkCgroups(_ context.Context, m Machine) Finding {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return missing(err.Error(), "")
	}
	return judgeCgroups(mountinfo, m.Cluster.Name)
}

// judgeCgroups takes the text of /proc/self/mountinfo.
func judgeCgroups(mountinfo []byte, name string) Finding {
	groups, err := sandbox.HostCgroups(mountinfo, name)
	if err != nil {
		return missing(err.Error(), "mount -t cgroup2 none /sys/fs/cgroup")
	}
	if lost := groups.Missing(); len(lost) > 0 {
		return missing("the control group controllers "+strings.Join(lost, ", ")+" are missing", "boot the kernel with cgroup_enable=memory")
	}
	return ok(fmt.Sprintf("version %d with %s", groups.Version(), strings.Join(groups.Controllers(), ", ")))
}

func checkNFT(ctx context.Context, m Machine) Finding {
	if _, err := exec.LookPath("nft"); err != nil {
		return missing("the program nft is missing", "apt-get install nftables")
	}
	if m.UID != 0 {
		return ok("the program nft is there")
	}
	out, err := exec.CommandContext(ctx, "nft", "list", "tables").CombinedOutput()
	if err != nil {
		f := missing(fmt.Sprintf("nft cannot reach the kernel's tables: %s", strings.TrimSpace(string(out))), "modprobe nf_tables")
		f.Repairs = []Repair{command("modprobe", "nf_tables")}
		return f
	}
	return ok("the program nft is there, and reaches the kernel's tables")
}

// kernelModules are what a kernel that is built in pieces needs beside what it loads by itself.
func kernelModules() []string {
	return []string{"veth", "nf_tables", "nf_conntrack", "nf_nat", "nft_ct", "nft_masq", "nft_chain_nat"}
}

func checkTrial(ctx context.Context, m Machine) Finding {
	if m.UID != 0 {
		return asRoot()
	}
	return judgeTrial(network.Try(ctx))
}

// judgeTrial takes what came of making a node's cable and rules in a namespace of their own.
func judgeTrial(err error) Finding {
	if err == nil {
		return ok("virtual cables, connection tracking and address translation work")
	}
	f := missing("what the node makes on the host cannot be made here: "+err.Error(), "modprobe -a "+strings.Join(kernelModules(), " "))
	f.Repairs = []Repair{command("modprobe", append([]string{"-a"}, kernelModules()...)...)}
	return f
}

func checkOverlay(ctx context.Context, m Machine) Finding {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return unknown(err)
	}
	f := judgeOverlay(string(data))
	if f.State == OK || m.UID != 0 {
		return f
	}
	// The kernel would load it by itself at the first mount; asking now tells whether it can.
	if exec.CommandContext(ctx, "modprobe", "--dry-run", "overlay").Run() == nil {
		return ok("the kernel can load overlayfs")
	}
	return f
}

// judgeOverlay takes the text of /proc/filesystems.
func judgeOverlay(filesystems string) Finding {
	if strings.Contains(filesystems, "\toverlay\n") {
		return ok("the kernel has overlayfs")
	}
	f := missing("the kernel has no overlayfs", "modprobe overlay")
	f.Repairs = []Repair{command("modprobe", "overlay")}
	return f
}

// command is a repair that runs a program.
func command(name string, args ...string) Repair {
	return Repair{Command: strings.Join(append([]string{name}, args...), " "), Do: func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil && text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}}
}

// sysctl is a repair that holds until the machine is started again.
func sysctl(name string, value int) Repair {
	return Repair{Command: fmt.Sprintf("sysctl %s=%d", name, value), Do: func(context.Context) error {
		return os.WriteFile(sysctlFile(name), []byte(strconv.Itoa(value)), 0o644)
	}}
}

func sysctlFile(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

func readInt(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
