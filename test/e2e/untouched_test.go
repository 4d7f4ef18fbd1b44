package e2e

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

// surroundings is all that a machine has which a node could leave something in.
type surroundings struct {
	links, tables, mounts, files []string
	sysctls                      map[string]string // by the path below /proc/sys
}

// volatile are the settings in /proc/sys that are counters, or change by themselves.
var volatile = regexp.MustCompile(`^(fs/(dentry-state|file-nr|inode-.*|aio-nr|quota/.*|mqueue/.*)|kernel/(random/.*|ns_last_pid|pty/nr|perf_event_max_sample_rate|tainted)|net/netfilter/nf_conntrack_(count|max)|net/nf_conntrack_max|.*/(stat|flush).*)$`)

// surroundings takes stock of the space, and of what all spaces of this machine share.
func (s *space) surroundings(t *testing.T, u *user) surroundings {
	t.Helper()
	a := surroundings{links: s.links(t), sysctls: map[string]string{}}
	for line := range strings.Lines(s.shell(t, "nft list tables")) {
		a.tables = append(a.tables, strings.TrimSpace(line))
	}
	a.mounts = u.mustLook(t).mounts
	err := s.Do(func() error { // what is below /proc/sys/net is that of the thread which reads it
		return filepath.WalkDir("/proc/sys", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil //nolint:nilerr // an interface went away
			}
			name := strings.TrimPrefix(path, "/proc/sys/")
			if data, err := os.ReadFile(path); err == nil && !volatile.MatchString(name) {
				a.sysctls[name] = string(data)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/etc", "/opt", "/run", "/srv", "/usr/libexec", "/usr/local", "/var/cache", "/var/lib", "/var/log", "/var/spool"} {
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				a.files = append(a.files, path)
			}
			return nil
		})
	}
	return a
}

// added is what is there and was not before, without what belongs to another node.
func added(before, after []string, cluster string) []string {
	var more []string
	for _, one := range after {
		if foreign := strings.Contains(one, "perch") && !strings.Contains(one, cluster); !foreign && !slices.Contains(before, one) {
			more = append(more, one)
		}
	}
	return more
}

// changed are the settings that have another value, and those that came.
func changed(before, after map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if value, was := before[name]; !was || value != after[name] {
			names = append(names, name)
		}
	}
	return names
}

// TestUntouched lists what the machine has before a cluster, while it runs an app, and after it.
func TestUntouched(t *testing.T) {
	s := newSpace(t)
	u := newUser(t, "u")
	u.in = s
	before := s.surroundings(t, u)
	u.perch(t, "", "cluster", "start")
	u.load(t, "busybox:1.36")
	p := u.project(t, "app", map[string]string{"compose.yaml": `services:
  web:
    image: busybox:1.36
    command: sh -c "echo here > /data/index.html && httpd -h /data; trap 'exit 0' TERM; while :; do sleep 1; done"
    ports: ["18080:80"]
    volumes: ["data:/data"]
    stop_grace_period: 1s
volumes: {data: {}}
`})
	p.up(t)
	if body, err := s.fetch(t.Context(), "http://127.0.0.1:18080/"); err != nil || body != "here\n" {
		t.Errorf("the app says %q, %v", body, err)
	}
	own := "perch-" + u.cluster
	t.Run("while it runs there is one interface, one table, one folder", func(t *testing.T) {
		now := s.surroundings(t, u)
		if diff := cmp.Diff([]string{own}, added(before.links, now.links, u.cluster)); diff != "" {
			t.Errorf("interfaces: %s", diff)
		}
		if diff := cmp.Diff([]string{"table ip " + own}, added(before.tables, now.tables, u.cluster)); diff != "" {
			t.Errorf("tables: %s", diff)
		}
		if more := added(before.mounts, now.mounts, u.cluster); len(more) > 0 {
			t.Errorf("mounts: %v", more)
		}
		if more := added(before.files, now.files, u.cluster); len(more) > 0 {
			t.Errorf("files: %v", more)
		}
		// Where forwarding is on, the kernel takes no redirects.
		forwarding := regexp.MustCompile(`^net/ipv4/(ip_forward|conf/.*/forwarding|conf/all/accept_redirects)$|/` + own + `/`)
		others := slices.DeleteFunc(changed(before.sysctls, now.sysctls), forwarding.MatchString)
		if len(others) > 0 {
			t.Errorf("settings of the kernel: %v", others)
		}
		entries, err := os.ReadDir(u.state)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if diff := cmp.Diff([]string{u.cluster, u.cluster + ".lock"}, names); diff != "" {
			t.Errorf("state folder: %s", diff)
		}
	})
	t.Run("the kubelet cannot change the kernel", func(t *testing.T) { testTunables(t, u) })
	t.Run("every process is in the cluster's control groups", func(t *testing.T) {
		in := u.inside()
		for _, p := range processes() {
			strange := strings.Contains(strings.Join(p.args, " "), u.folder()) && !slices.ContainsFunc(in, func(o hostProcess) bool { return o.pid == p.pid })
			if strange && p.alive() {
				t.Errorf("%s is not", p)
			}
		}
	})
	seen := u.inside()
	u.perch(t, "", "cluster", "delete", "--yes")
	t.Run("after it all is as before", func(t *testing.T) {
		u.leavesNoFiles(t)
		for _, p := range seen {
			if p.alive() {
				t.Errorf("%s is still there", p)
			}
		}
		if left := u.groups(); len(left) > 0 {
			t.Errorf("control groups: %v", left)
		}
		for _, more := range s.surroundings(t, u).since(before, u.cluster) {
			t.Error(more)
		}
	})
}

// since is what there is more than before, or is another, but for what belongs to another node.
func (a surroundings) since(before surroundings, cluster string) []string {
	var all []string
	for _, kind := range []struct {
		name string
		more []string
	}{
		{"interface", added(before.links, a.links, cluster)}, {"no more the interface", added(a.links, before.links, cluster)},
		{"table", added(before.tables, a.tables, cluster)}, {"no more the table", added(a.tables, before.tables, cluster)},
		{"mount", added(before.mounts, a.mounts, cluster)}, {"file", added(before.files, a.files, cluster)},
		{"setting of the kernel", changed(before.sysctls, a.sysctls)},
	} {
		for _, one := range kind.more {
			all = append(all, kind.name+" "+one)
		}
	}
	return all
}

// testTunables wants the settings that a kubelet would change to be files of the sandbox.
func testTunables(t *testing.T, u *user) {
	for _, p := range u.inside() {
		if !p.is("kubernetes") {
			continue
		}
		for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
			var fs unix.Statfs_t
			if err := unix.Statfs(filepath.Join("/proc", p.pid, "root/proc/sys", name), &fs); err != nil {
				t.Error(err)
			} else if fs.Type != unix.TMPFS_MAGIC {
				t.Errorf("%s is the machine's own", name)
			}
		}
		return
	}
	t.Error("no process of Kubernetes was found")
}
