package preflight

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
)

// one is a case of a judgement: the finding must be of that state, and its What and Cure contain the words.
type one struct {
	got        Finding
	state      State
	what, cure string
}

func judge(t *testing.T, cases map[string]one) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.got.State != c.state || !strings.Contains(c.got.What, c.what) || !strings.Contains(c.got.Cure, c.cure) {
				t.Errorf("got %s: %s\ncure: %s", c.got.State, c.got.What, c.got.Cure)
			}
			if c.got.State == OK && (c.got.Cure != "" || len(c.got.Repairs) > 0) {
				t.Errorf("a cure of what is in order: %+v", c.got)
			}
			if c.got.State != OK && c.got.Cure == "" {
				t.Errorf("no cure of: %s", c.got.What)
			}
		})
	}
}

func TestKernel(t *testing.T) {
	t.Parallel()
	all := map[string]int{"pid": 1, "net": 1, "mnt": 1, "uts": 1, "ipc": 1, "cgroup": 1}
	without := func(kind string, n int) map[string]int {
		m := map[string]int{}
		for k, v := range all {
			m[k] = v
		}
		m[kind] = n
		if n < 0 {
			delete(m, kind)
		}
		return m
	}
	const v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	const v1 = "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	judge(t, map[string]one{
		"namespaces":           {judgeNamespaces(all), OK, "cgroup", ""},
		"no cgroup namespaces": {judgeNamespaces(without("cgroup", -1)), Missing, "no cgroup namespaces", "CONFIG_NAMESPACES"},
		"none may be made":     {judgeNamespaces(without("net", 0)), Missing, "user.max_net_namespaces is 0", "sysctl user.max_net_namespaces=10000"},
		"cgroups of version 1": {judgeCgroups([]byte(v1), "x"), OK, "version 1 with cpu, memory, pids", ""},
		"no memory controller": {judgeCgroups([]byte(strings.ReplaceAll(v1, "memory", "blkio")), "x"), Missing, "controllers memory are missing", "cgroup_enable=memory"},
		"no cgroups":           {judgeCgroups([]byte(strings.ReplaceAll(v2, "cgroup2", "tmpfs")), "x"), Missing, "no control groups", "mount -t cgroup2"},
		"the trial":            {judgeTrial(nil), OK, "address translation", ""},
		"the trial fails":      {judgeTrial(errors.New("a virtual cable (veth): operation not supported")), Missing, "veth", "modprobe -a veth nf_tables"},
		"overlayfs":            {judgeOverlay("nodev\tproc\nnodev\toverlay\n"), OK, "overlayfs", ""},
		"no overlayfs":         {judgeOverlay("nodev\tproc\n"), Missing, "no overlayfs", "modprobe overlay"},
		"this is no WSL":       {judgeWSL("6.8.0-45-generic"), OK, "not WSL", ""},
		"WSL 2":                {judgeWSL("5.15.153.1-microsoft-standard-WSL2"), OK, "/mnt", ""},
		"WSL 1":                {judgeWSL("4.4.0-19041-Microsoft"), Missing, "WSL 1", "wsl --set-version"},
		"AppArmor":             {judgeSecurity("Y\n", ""), OK, "AppArmor", ""},
		"SELinux enforces":     {judgeSecurity("N\n", "1"), Warn, "SELinux", "ausearch"},
		"SELinux permits":      {judgeSecurity("", "0"), OK, "neither", ""},
		"systemd":              {judgeInit(true, true), OK, "systemd, with DBus", ""},
		"no systemd":           {judgeInit(false, false), OK, "no systemd", ""},
	})
	if repairs := judgeTrial(errors.New("x")).Repairs; len(repairs) != 1 || !strings.HasPrefix(repairs[0].Command, "modprobe -a veth") {
		t.Errorf("repairs %+v", repairs)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	judge(t, map[string]one{
		"root":                             {judgeRights(0, "CapEff:\t000001ffffffffff\n"), OK, "root", ""},
		"without CAP_SYS_RESOURCE it goes": {judgeRights(0, "CapEff:\t000001fffeffffff\n"), OK, "root", ""},
		"root of a container":              {judgeRights(0, "CapEff:\t00000000a80425fb\n"), Missing, "CAP_NET_ADMIN, CAP_SYS_ADMIN", "privileged"},
		"a user":                           {judgeRights(1000, ""), Warn, "user 1000 is not root", "sudo perch doctor"},
		"a kubeconfig":                     {judgeKubeconfig("/home/a/.kube/config", nil, "", 1000), OK, "left alone", ""},
		"one of root, by sudo":             {judgeKubeconfig("/root/.kube/config", nil, "ann", 0), Warn, "user ann does not look", "cluster kubeconfig"},
		"one that is kept":                 {judgeKubeconfig("/home/ann/.kube/config", nil, "ann", 0), OK, "", ""},
		"a read-only one":                  {judgeKubeconfig("/x", errors.New("/x: permission denied"), "", 1000), Warn, "/x: permission denied", "KUBECONFIG"},
	})
}

func TestWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writable(filepath.Join(dir, "a", "b", "config")); err != nil {
		t.Errorf("a file that could be made: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writable(filepath.Join(dir, "file", "config")); err == nil {
		t.Error("a file below a file")
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	const g = 1 << 30
	judge(t, map[string]one{
		"much":            {judgeDisk("/d", folder{free: 50 * g, total: 100 * g, freeInodes: 1e6, inodes: 2e6}), OK, "50 of 100 GiB", ""},
		"no inodes":       {judgeDisk("/d", folder{free: 50 * g, total: 100 * g}), OK, "", ""},
		"little":          {judgeDisk("/d", folder{free: 2 * g, total: 100 * g}), Warn, "2048 MiB", "perch system df"},
		"full":            {judgeDisk("/d", folder{free: g / 2, total: 100 * g}), Missing, "the disk of /d is full: 512 MiB", "PERCH_STATE_DIR"},
		"few files":       {judgeDisk("/d", folder{free: 50 * g, total: 100 * g, freeInodes: 10, inodes: 2e6}), Warn, "10 more files", "df -i"},
		"ext4":            {judgeFolder("/d", unix.EXT4_SUPER_MAGIC), OK, "", ""},
		"overlayfs":       {judgeFolder("/d", unix.OVERLAYFS_SUPER_MAGIC), Missing, "/d is on overlayfs", "PERCH_STATE_DIR"},
		"9p, as in WSL":   {judgeFolder("/mnt/c", unix.V9FS_MAGIC), Missing, "9p", "PERCH_STATE_DIR"},
		"CIFS":            {judgeFolder("/d", unix.CIFS_SUPER_MAGIC), Missing, "CIFS", "PERCH_STATE_DIR"},
		"in memory":       {judgeFolder("/d", unix.TMPFS_MAGIC), Warn, "in memory", "PERCH_STATE_DIR"},
		"a path":          {checkPath(t.Context(), Machine{Dir: "/var/lib/perch/x"}), OK, "", ""},
		"a path too long": {checkPath(t.Context(), Machine{Dir: "/" + strings.Repeat("long", 25)}), Missing, "too long for sockets", "PERCH_STATE_DIR"},
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	judge(t, map[string]one{
		"inotify":                  {judgeInotify(inotify{128, 65536, 20}), OK, "128 instances", ""},
		"nothing known of its use": {judgeInotify(inotify{128, 65536, -1}), OK, "", ""},
		"few instances":            {judgeInotify(inotify{64, 65536, 0}), Warn, "max_user_instances is 64", "sysctl fs.inotify.max_user_instances=1024"},
		"nearly all in use":        {judgeInotify(inotify{128, 65536, 100}), Warn, "root has 100 of them in use", "sysctl fs.inotify.max_user_instances=1024"},
		"few of both":              {judgeInotify(inotify{64, 100, 0}), Warn, "max_user_watches is 100", "max_user_instances=1024 && sysctl fs.inotify.max_user_watches=524288"},
		"files":                    {judgeFiles(1048576, 100, 1e6), OK, "1048576", ""},
		"few files":                {judgeFiles(1024, 100, 1e6), Warn, "1024 files", "ulimit -Hn"},
		"all open":                 {judgeFiles(1048576, 95000, 1e5), Warn, "95000 of 100000", "sysctl fs.file-max=200000"},
		"pids":                     {judgePIDs(4194304, 191000), OK, "", ""},
		"few pids":                 {judgePIDs(1000, 191000), Warn, "kernel.pid_max is 1000", "sysctl kernel.pid_max=32768"},
		"few threads":              {judgePIDs(4194304, 2000), Warn, "kernel.threads-max is 2000", "sysctl kernel.threads-max"},
	})
	if repairs := judgeInotify(inotify{64, 100, 0}).Repairs; len(repairs) != 2 || repairs[1].Command != "sysctl fs.inotify.max_user_watches=524288" {
		t.Errorf("repairs %+v", repairs)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	plan := network.Plan{HostLink: "perch-x", NodeIP: prefix("10.89.0.2/30"), PodCIDR: prefix("10.42.0.0/16"), ServiceCIDR: prefix("10.43.0.0/16")}
	vpn := []network.Route{{Prefix: prefix("10.0.0.0/8"), Link: "tun0"}}
	lan := []network.Route{{Prefix: prefix("192.168.1.0/24"), Link: "eth0"}, {Prefix: prefix("172.17.0.0/16"), Link: "docker0"}}
	none := fault.New(fault.Usage, "choose another", "no 4 addresses are free")
	docker := network.Firewall{Family: "ip", Table: "filter", Chain: "FORWARD", Door: "DOCKER-USER"}
	opened := docker
	opened.Open = true
	firewalld := network.Firewall{Family: "inet", Table: "firewalld", Chain: "filter_FORWARD"}
	silent := errors.New("i/o timeout")
	pods6 := netip.MustParsePrefix("fd01::/64")
	stub := settings.Stub{Domain: "corp.example", Servers: []netip.AddrPort{netip.MustParseAddrPort("10.1.2.3:53")}}
	judge(t, map[string]one{
		"forwarding":                  {judgeForwarding(true, true), OK, "on", ""},
		"forwarding comes":            {judgeForwarding(false, false), OK, "while a node runs", ""},
		"forwarding cannot come":      {judgeForwarding(false, true), Missing, "read-only", "sysctl"},
		"subnets":                     {judgeSubnets(Cluster{Plan: plan}, lan, ""), OK, "node 10.89.0.2, pods 10.42.0.0/16, Services 10.43.0.0/16; taken by others: 172.17.0.0/16 dev docker0", ""},
		"no subnet":                   {judgeSubnets(Cluster{PlanErr: none}, lan, ""), Missing, "no 4 addresses", "choose another"},
		"nothing known":               {judgeSubnets(Cluster{}, lan, ""), OK, "only root", ""},
		"a VPN hides behind pods":     {judgeSubnets(Cluster{Plan: plan, Running: true}, vpn, "perch-x"), Warn, "10.0.0.0/8 dev tun0", "--pod-cidr"},
		"a VPN takes the node's way":  {judgeSubnets(Cluster{Plan: plan, Running: true}, vpn, "tun0"), Warn, "10.89.0.2 goes to tun0", "--subnet"},
		"ports":                       {judgePorts(Cluster{}, 6443, false), OK, "6443 is free", ""},
		"6443 is taken":               {judgePorts(Cluster{}, 6443, true), OK, "will have another", ""},
		"it is the cluster's":         {judgePorts(Cluster{Running: true, APIPort: 6443}, 6443, true), OK, "answers at 127.0.0.1:6443", ""},
		"a port cannot be published":  {judgePorts(Cluster{Running: true, Unbound: []string{"80/tcp of service web in shop (address already in use)"}}, 6443, true), Warn, "80/tcp of service web", "ss -ltnup"},
		"no firewall":                 {judgeFirewall(nil, "perch-x", true), OK, "none", ""},
		"Docker, before the start":    {judgeFirewall([]network.Firewall{docker}, "perch-x", false), OK, "takes it away again", ""},
		"Docker, with our rule":       {judgeFirewall([]network.Firewall{opened}, "perch-x", true), OK, "it has a rule", ""},
		"ufw came later":              {judgeFirewall([]network.Firewall{docker}, "perch-x", true), Warn, "no image can be pulled", "iptables -I DOCKER-USER -i perch-x"},
		"firewalld, before the start": {judgeFirewall([]network.Firewall{firewalld}, "perch-x", false), Warn, "inet firewalld filter_FORWARD", "when the cluster runs: firewall-cmd --zone=trusted --add-interface=perch-x"},
		"firewalld and Docker":        {judgeFirewall([]network.Firewall{firewalld, opened}, "perch-x", true), Warn, "(inet firewalld filter_FORWARD)", "firewall-cmd"},
		"resolvers":                   {judgeResolvers([]string{"127.0.0.53:53"}, []error{nil}), OK, "127.0.0.53:53", ""},
		"no resolver":                 {judgeResolvers(nil, nil), Warn, "no DNS server", "nameserver"},
		"IPv6 to the outside":         {judgeIPv6(network.Plan{NodeIP: plan.NodeIP, IPv6: network.Second{PodCIDR: pods6, ServiceCIDR: pods6, NodeIP: pods6, HostIP: pods6}}, network.IPv6{}), OK, "pods fd01::/64, Services fd01::/64; they reach the outside", ""},
		"IPv6 inside":                 {judgeIPv6(network.Plan{NodeIP: plan.NodeIP, IPv6: network.Second{PodCIDR: pods6, NodeIP: pods6}}, network.IPv6{}), OK, "net.ipv6.conf.all.forwarding", ""},
		"a kernel without IPv6":       {judgeIPv6(network.Plan{NodeIP: plan.NodeIP, IPv6: network.Second{PodCIDR: pods6}}, network.IPv6{}), OK, "this kernel has not", ""},
		"made without IPv6":           {judgeIPv6(plan, network.IPv6{On: true}), OK, "made without it", ""},
		"IPv6 is switched off":        {judgeIPv6(plan, network.IPv6{}), OK, "switched off", ""},
		"a stub":                      {judgeStubs(ok("127.0.0.53:53"), []settings.Stub{stub}, []error{nil}), OK, "127.0.0.53:53; corp.example=10.1.2.3:53", ""},
		"a silent stub":               {judgeStubs(ok("127.0.0.53:53"), []settings.Stub{stub}, []error{silent}), Warn, "10.1.2.3:53 does not answer: i/o timeout", "--dns-stub none"},
		"one is silent":               {judgeResolvers([]string{"192.0.2.1:53", "192.0.2.2:53"}, []error{silent, nil}), Warn, "192.0.2.1:53 (i/o timeout)", "/etc/resolv.conf"},
		"all are silent":              {judgeResolvers([]string{"192.0.2.1:53"}, []error{silent}), Warn, "no DNS server answers", "getent"},
	})
}

func TestProxy(t *testing.T) {
	t.Parallel()
	set := func(environ ...string) Finding { return judgeProxy(proxies(environ)) }
	judge(t, map[string]one{
		"none":             {set("HOME=/root", "NO_PROXY=x"), OK, "none", ""},
		"both":             {set("HTTP_PROXY=http://proxy.corp:3128", "https_proxy=http://proxy.corp:3128"), OK, "go through it", ""},
		"only for http":    {set("HTTP_PROXY=http://proxy.corp:3128"), Warn, "HTTPS_PROXY is not", "export HTTPS_PROXY=http://proxy.corp:3128"},
		"on this machine":  {set("HTTPS_PROXY=http://user:secret@127.0.0.1:3128"), Warn, "at 127.0.0.1:3128, which", "another address"},
		"localhost":        {set("HTTPS_PROXY=localhost:3128"), Warn, "at localhost:3128", "another address"},
		"not an address":   {set("HTTPS_PROXY=http://"), Warn, "cannot be read", "http://ADDRESS:PORT"},
		"registry":         {judgeRegistry("r", nil), OK, "r answers", ""},
		"registry is gone": {judgeRegistry("r", errors.New("no route to host")), Warn, "r is not reached: no route to host", "perch image load"},
	})
}

// A registry that says nothing must not hold anybody up, and a proxy is asked in its place.
func TestAskRegistry(t *testing.T) {
	t.Parallel()
	if err := askRegistry(t.Context(), "http://127.0.0.1:1/v2/", httpproxy.Config{}); err == nil {
		t.Error("nobody listens, and it answers")
	}
	// Go asks no proxy for loopback addresses: the name is one that nothing resolves.
	err := askRegistry(t.Context(), "http://registry.invalid/v2/", httpproxy.Config{HTTPProxy: "http://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("the proxy was not asked: %v", err)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	year := 365 * 24 * time.Hour
	judge(t, map[string]one{
		"right":                   {judgeClock(times{now: now}), OK, "2026-11-30", ""},
		"with a cluster":          {judgeClock(times{now, now.Add(-time.Hour), now.Add(-year), now.Add(year)}), OK, "", ""},
		"put right by seconds":    {judgeClock(times{now: now, newest: now.Add(time.Second)}), OK, "", ""},
		"1970":                    {judgeClock(times{now: time.Unix(0, 0)}), Warn, "1970-01-01", "timedatectl"},
		"went back":               {judgeClock(times{now: now, newest: now.Add(3 * time.Hour)}), Warn, "the clock went back", "timedatectl"},
		"before the certificates": {judgeClock(times{now, now, now.Add(time.Hour), now.Add(year)}), Missing, "valid from 2026-11-30T13:00:00Z on", "timedatectl"},
		"after the certificates":  {judgeClock(times{now, now, now.Add(-2 * year), now.Add(-year)}), Missing, "valid until", "perch cluster delete"},
	})
}

// Every check must come to a finding on the machine that runs the tests, whatever it lacks, and tell what to do.
func TestDoctorOnThisMachine(t *testing.T) {
	t.Parallel()
	m := Machine{Dir: filepath.Join(t.TempDir(), "x"), UID: os.Geteuid(), Now: time.Now(), Kubeconfig: filepath.Join(t.TempDir(), "config"), Cluster: Cluster{Name: "x"}}
	findings := Doctor(t.Context(), m)
	for _, f := range findings {
		t.Logf("%s %s: %s (%s)", f.State, f.Check, f.What, f.Cure)
		if f.Check == "" || f.State == "" || f.What == "" {
			t.Errorf("a finding says nothing: %+v", f)
		}
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	if err := Error([]Finding{ok("x"), warn("y", "z")}); err != nil {
		t.Error(err)
	}
	err := Error([]Finding{missing("a", "do a"), missing("b", "do a"), missing("c", "")})
	if err == nil || err.Error() != "this machine cannot run the node: a; b; c" || fault.HintOf(err) != "do a" {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}
