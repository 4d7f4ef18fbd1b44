package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounts say how the sandbox's view of the file system differs from the host's.
type Mounts struct {
	Keep       string  // a folder (ours) that stays visible at its own path
	ResolvConf string  // text of /etc/resolv.conf
	Hosts      string  // text of /etc/hosts
	Cgroups    Cgroups // whose folders become the root of /sys/fs/cgroup
	// Sysctls are settings of the machine's kernel that have this value inside, whatever is written to them, and keep
	// theirs outside. Names are those of files below /proc/sys.
	Sysctls map[string]string
}

// Apply changes the mount namespace of the calling process, which must be its own: the host's root stays, so that host
// paths can be mounted into pods; everything that programs write by fixed paths becomes memory that ends with the
// sandbox. Nothing of it is seen on the host.
func (m Mounts) Apply() error {
	// slave: the host's later mounts come in, ours never go out. shared on top: pods may ask for propagation.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	keep, err := unix.Open(m.Keep, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("state folder %s: %w", m.Keep, err)
	}
	defer func() { _ = unix.Close(keep) }()
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := m.mountSys(); err != nil {
		return err
	}
	if err := m.hideWritable(keep); err != nil {
		return err
	}
	if err := m.mountSysctls(); err != nil {
		return err
	}
	return m.mountEtc()
}

// mountSysctls puts files of ours over the settings.
func (m Mounts) mountSysctls() error {
	// A pod with a user namespace may mount /proc only where there is one with nothing put over it.
	if err := os.MkdirAll(wholeProc, 0o555); err != nil {
		return err
	}
	if err := mount("proc", wholeProc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	for name, value := range m.Sysctls {
		source := filepath.Join("/run/perch/sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		err := mount(source, filepath.Join("/proc/sys", name), "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) { // a kernel without it
			return err
		}
	}
	return nil
}

const wholeProc = "/run/perch/proc"

// hidden are the folders that containerd, the kubelet and the CNI write to by fixed paths, and what there may be of them
// on the host, made by others. All of /run is hidden: /run/systemd alone would make runc ask systemd for cgroups.
func hidden() map[string][]string {
	return map[string][]string{
		"/run":     nil,
		"/var/log": {"containers", "pods"},
		"/var/lib": {"calico", "cni", "containerd", "containers", "etcd", "kubelet", "nerdctl", "perch", "rancher"},
	}
}

// hideWritable puts memory over the folders of hidden, and shows in it what else the host has there, since a pod may be
// given such a path (/var/log, a project in /var/lib).
func (m Mounts) hideWritable(keep int) error {
	for _, dir := range []string{"/run", "/var/log", "/var/lib"} {
		ours := hidden()[dir]
		err := cover(dir, func(name string) bool { return ours == nil || slices.Contains(ours, name) })
		if err != nil {
			return err
		}
	}
	if !strings.HasPrefix(m.Keep, "/run/") && !strings.HasPrefix(m.Keep, "/var/") {
		return nil
	}
	if err := os.MkdirAll(m.Keep, 0o700); err != nil {
		return err
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", keep), m.Keep, "", unix.MS_BIND|unix.MS_REC, "")
}

// cover puts memory over a folder, and shows in it what the folder has, but for what is hidden.
func cover(dir string, hide func(name string) bool) error {
	host, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer func() { _ = unix.Close(host) }()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	return show(host, dir, slices.DeleteFunc(entries, func(e os.DirEntry) bool { return hide(e.Name()) }))
}

// show mounts folders and files of a host's folder, which host is a descriptor of, at their own names in dir. Links are
// made anew; sockets and devices are left out.
func show(host int, dir string, entries []os.DirEntry) error {
	for _, e := range entries {
		source := fmt.Sprintf("/proc/self/fd/%d/%s", host, e.Name())
		target := filepath.Join(dir, e.Name())
		var err error
		switch {
		case e.IsDir():
			err = os.Mkdir(target, 0o700)
		case e.Type().IsRegular():
			err = os.WriteFile(target, nil, 0o600)
		case e.Type()&os.ModeSymlink != 0:
			if link, err := os.Readlink(source); err == nil {
				_ = os.Symlink(link, target) // it went away meanwhile: so it does here
			}
			continue
		default:
			continue
		}
		if err != nil {
			return err
		}
		// Not with what is mounted below: under /var/lib/docker that may be hundreds.
		if err := mount(source, target, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// mountSys gives the sandbox a /sys of its own network namespace, and its control groups as their roots.
func (m Mounts) mountSys() error {
	if err := mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if m.Cgroups.unified {
		return mount("cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err := mount("tmpfs", "/sys/fs/cgroup", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return err
	}
	for _, root := range m.Cgroups.roots {
		if err := os.MkdirAll(root, 0o755); err != nil {
			return err
		}
		name := filepath.Base(root)
		kind, options := "cgroup", name
		switch name {
		case "systemd":
			options = "none,name=systemd"
		case "unified":
			kind, options = "cgroup2", ""
		}
		if err := mount("cgroup", root, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
			return err
		}
	}
	return nil
}

// ResolvConf is where the sandbox's own resolv.conf is, whatever the host has at /etc.
const ResolvConf = "/run/perch/resolv.conf"

// mountEtc replaces the two files of /etc that speak of the host's network.
func (m Mounts) mountEtc() error {
	texts := map[string]string{"/etc/resolv.conf": m.ResolvConf, "/etc/hosts": m.Hosts}
	if err := completeEtc(slices.Sorted(maps.Keys(texts))); err != nil {
		return err
	}
	for path, text := range texts {
		source := filepath.Join(filepath.Dir(ResolvConf), filepath.Base(path))
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			return err
		}
		target, err := followLink(path)
		if err != nil {
			return err
		}
		if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// completeEtc makes the files that something is about to be mounted on, where there are none. A link into /run, as
// systemd-resolved makes it, ends in memory of ours. What the host has not at all (a minimal Debian has no /etc/hosts, and
// containerd makes no pod without) or as a link to nowhere is made in memory over /etc, which is the host's own.
func completeEtc(paths []string) error {
	var missing []string
	for _, path := range paths {
		target, err := followLink(path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(target, "/run/") {
			if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, nil, 0o644)); err != nil {
				return err
			}
			continue
		}
		if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, path)
		} else if err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := cover("/etc", func(name string) bool { return slices.Contains(missing, "/etc/"+name) }); err != nil {
		return err
	}
	for _, path := range missing {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// followLink resolves a link that may point at nothing.
func followLink(path string) (string, error) {
	for range 8 {
		next, err := os.Readlink(path)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, os.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
		if parts := strings.Split(path, "/"); len(parts) > 3 && slices.Equal(parts[:3], []string{"", "var", "run"}) {
			path = "/run/" + strings.Join(parts[3:], "/")
		}
	}
	return "", fmt.Errorf("%s: too many links", path)
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", cmp.Or(kind, source), target, err)
	}
	return nil
}
