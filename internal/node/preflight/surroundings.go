package preflight

import (
	"context"
	"os"
	"strings"

	"github.com/perch-k8s/perch/internal/node/supervisor"
	"github.com/perch-k8s/perch/internal/node/systemd"
)

func checkSecurity(context.Context, Machine) Finding {
	apparmor, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	selinux, _ := os.ReadFile("/sys/fs/selinux/enforce")
	return judgeSecurity(string(apparmor), string(selinux))
}

// judgeSecurity takes what the kernel says of AppArmor ("Y") and of SELinux ("1": it enforces); "" is none.
func judgeSecurity(apparmor, selinux string) Finding {
	if strings.HasPrefix(selinux, "1") {
		return warn("SELinux enforces, and the node was not tried under it", "if something is denied: ausearch -m avc -ts recent; setenforce 0 tells whether that is it")
	}
	if strings.HasPrefix(apparmor, "Y") {
		return ok("AppArmor is on; pods have no profile of it")
	}
	return ok("neither AppArmor nor SELinux restrains the node")
}

func checkInit(context.Context, Machine) Finding {
	_, err := os.Stat("/run/dbus/system_bus_socket")
	return judgeInit(systemd.Booted(), err == nil)
}

func judgeInit(booted, dbus bool) Finding {
	switch {
	case booted && dbus:
		return ok("systemd, with DBus")
	case booted:
		return ok("systemd, without DBus")
	}
	return ok("no systemd; the node needs none")
}

func checkWSL(context.Context, Machine) Finding { return judgeWSL(osRelease()) }

// judgeWSL takes the kernel's release.
func judgeWSL(release string) Finding {
	lower := strings.ToLower(release)
	switch {
	case !strings.Contains(lower, "microsoft"):
		return ok("this is not WSL")
	case !strings.Contains(lower, "wsl2"):
		return missing("this is WSL 1, which has no Linux kernel", "wsl --set-version NAME 2, in Windows")
	}
	return ok("WSL 2: published ports answer in Windows too; the node's folder must not be below /mnt")
}

func checkLeftovers(ctx context.Context, m Machine) Finding {
	if m.UID != 0 {
		return asRoot()
	}
	left, err := supervisor.Leftovers(ctx)
	if err != nil {
		return ok("not looked at: " + err.Error())
	}
	if len(left) == 0 {
		return ok("none")
	}
	var names []string
	f := warn("", "perch doctor --fix")
	for _, l := range left {
		names = append(names, l.What)
		f.Repairs = append(f.Repairs, Repair{Command: l.Command, Do: func(ctx context.Context) error { return supervisor.RemoveLeftover(ctx, l) }})
	}
	f.What = "nodes that were killed have left " + strings.Join(names, ", ")
	return f
}
