package kubernetes

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// testConfig is a node that is never started.
func testConfig(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		Dir: filepath.Join(dir, "kubernetes"), RunDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"),
		VolumesDir: filepath.Join(dir, "volumes"), ContainerdSocket: filepath.Join(dir, "containerd.sock"),
		NodeName: "node-1", PolicyTable: "perch-policies", Families: []Family{
			{netip.MustParseAddr("10.99.0.2"), netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.43.0.0/16")},
			{netip.MustParseAddr("fd99::2"), netip.MustParsePrefix("fd42::/64"), netip.MustParsePrefix("fd43::/112")},
		},
		ClusterDomain: "cluster.local", ResolvConf: "/etc/resolv.conf", ExtraSANs: []string{"192.0.2.9", "perch.example"},
	}
}

func testFiles(t *testing.T, c Config) pki.Files {
	t.Helper()
	f, err := pki.Ensure(string(pkiFiles(c.Dir)), c.pkiRequest(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit func(*Config)
		want string
	}{
		"relative folder":     {func(c *Config) { c.Dir = "x" }, `Dir "x": not an absolute path`},
		"no log folder":       {func(c *Config) { c.LogDir = "" }, `LogDir "": not an absolute path`},
		"no family":           {func(c *Config) { c.Families = nil }, "0 families of IP"},
		"no node address":     {func(c *Config) { c.Families[0].NodeIP = netip.Addr{} }, "not all of IPv4"},
		"an IPv6 pod network": {func(c *Config) { c.Families[0].PodCIDR = netip.MustParsePrefix("fd00::/64") }, "not all of IPv4"},
		"IPv4 twice":          {func(c *Config) { c.Families[1] = c.Families[0] }, "not all of IPv6"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t)
			tt.edit(&c)
			if err := c.check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestCertificatesNameWhereTheServerIsReached(t *testing.T) {
	t.Parallel()
	r := testConfig(t).pkiRequest(time.Now())
	wantIPs := []string{"10.43.0.1", "192.0.2.9"} // the kubernetes Service has an address of the first family
	var ips []string
	for _, ip := range r.ServerIPs {
		ips = append(ips, ip.String())
	}
	wantDNS := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "perch.example"}
	if diff := cmp.Diff([][]string{wantIPs, wantDNS}, [][]string{ips, r.ServerDNS}); diff != "" {
		t.Error(diff)
	}
}

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	c := Config{Families: []Family{{ServiceCIDR: netip.MustParsePrefix("10.43.128.7/17")}}} // written with host bits
	if got := c.dnsServiceIP(); !got.Equal(net.IPv4(10, 43, 128, 10)) {
		t.Errorf("DNS service at %s", got)
	}
	if got := c.serviceIP(1); !got.Equal(net.IPv4(10, 43, 128, 1)) {
		t.Errorf("kubernetes service at %s", got)
	}
}

// The start order as a whole: a change here is a change of how the node starts.
func TestStartOrder(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	l := newLogs(c.LogDir)
	t.Cleanup(l.close)
	steps, listener, err := c.steps(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var got []string
	for _, s := range steps {
		got = append(got, strings.TrimSpace(s.Name()+": "+strings.Join(s.Needs, " ")))
	}
	want := []string{
		"certificates:",
		"etcd:",
		"kube-apiserver: etcd",
		"kube-controller-manager:",
		"kubelet:",
		"kube-proxy:",
		"network-policies:",
		"default-roles: kube-apiserver",
		"kube-scheduler: kube-apiserver",
		"dns: kube-apiserver",
		"volumes: kube-apiserver",
		"metrics: kube-apiserver",
		"kubernetes: kubelet kube-controller-manager kube-proxy network-policies kube-scheduler default-roles dns volumes",
		"clock: kubernetes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKubeletConfiguration(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	k := &kubelet{config: c, files: testFiles(t, c)}
	s, err := k.options()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{
		"node IP": s.NodeIP, "name": s.HostnameOverride, "root": s.RootDirectory, "address": s.Address,
		"anonymous": s.Authentication.Anonymous.Enabled, "authorization": string(s.Authorization.Mode),
		"runtime": s.ContainerRuntimeEndpoint, "cluster DNS": s.ClusterDNS, "swap": s.FailSwapOn, "cgroup v1": s.FailCgroupV1,
		"driver": s.CgroupDriver, "enforced": len(s.EnforceNodeAllocatable), "pods": s.MaxPods, "serial pulls": s.SerializeImagePulls,
		"sysctls": s.ProtectKernelDefaults, "read-only port": s.ReadOnlyPort, "healthz port": s.HealthzPort, "resolv.conf": s.ResolverConfig,
		"seccomp": s.KubeletConfiguration.SeccompDefault, "logs": s.PodLogsDir, "plugins": s.VolumePluginDir,
	}
	want := map[string]any{
		"node IP": "10.99.0.2,fd99::2", "name": "node-1", "root": filepath.Join(c.Dir, "kubelet"), "address": "10.99.0.2",
		"anonymous": false, "authorization": "Webhook",
		"runtime": "unix://" + c.ContainerdSocket, "cluster DNS": []string{"10.43.0.10"}, "swap": false, "cgroup v1": false,
		"driver": "cgroupfs", "enforced": 0, "pods": int32(250), "serial pulls": false,
		"sysctls": false, "read-only port": int32(0), "healthz port": int32(0), "resolv.conf": "/etc/resolv.conf",
		"seccomp": true, "logs": filepath.Join(c.Dir, "pod-logs"), "plugins": filepath.Join(c.Dir, "kubelet", "volume-plugins"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestControllersConfiguration(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	files := testFiles(t, c)
	o, err := (&controllers{config: c, files: files}).options()
	if err != nil {
		t.Fatal(err)
	}
	if o.Generic.LeaderElection.LeaderElect {
		t.Error("it elects a leader, and would exit the process when it loses")
	}
	if o.SecureServing.BindPort != 0 {
		t.Errorf("it listens on %d", o.SecureServing.BindPort)
	}
	if got := o.PersistentVolumeBinderController.VolumeConfiguration.FlexVolumePluginDir; !strings.HasPrefix(got, c.Dir) {
		t.Errorf("it looks for volume plugins in %s", got)
	}
	if o.SAController.RootCAFile != files.Cert(pki.CA) || o.SAController.ServiceAccountKeyFile != files.ServiceAccountKey() {
		t.Error("tokens and their authority come from elsewhere")
	}
}

func TestSchedulerConfiguration(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	o := (&scheduler{files: testFiles(t, c)}).configuration()
	if o.LeaderElection.LeaderElect {
		t.Error("it elects a leader, and would exit the process when it loses")
	}
	if o.SecureServing.BindPort != 0 {
		t.Errorf("it listens on %d", o.SecureServing.BindPort)
	}
}

func TestProxyConfiguration(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	got, err := (&proxy{config: c, files: testFiles(t, c)}).configuration()
	if err != nil {
		t.Fatal(err)
	}
	if got.Mode != "nftables" || got.HealthzBindAddress != "" || got.MetricsBindAddress != "" || got.Linux.OOMScoreAdj != nil {
		t.Errorf("mode %s, healthz %q, metrics %q, OOM score %v", got.Mode, got.HealthzBindAddress, got.MetricsBindAddress, got.Linux.OOMScoreAdj)
	}
	if got.MinSyncPeriod.Duration > 50*time.Millisecond {
		t.Errorf("a change of a Service waits %s", got.MinSyncPeriod.Duration)
	}
	if !reflect.DeepEqual(got.NodePortAddresses, []string{"10.99.0.2/32", "fd99::2/128"}) {
		t.Errorf("node ports on %v", got.NodePortAddresses)
	}
}

// While the node runs, certificates are looked at again and again, and renewed before they end.
func TestCertificatesAreRenewedWhileRunning(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	files := testFiles(t, c)
	read := func() string {
		t.Helper()
		data, err := os.ReadFile(files.Cert(pki.APIServer))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := read()
	ctx, cancel := context.WithCancel(t.Context())
	ticks, set := make(chan time.Time), make(chan time.Time)
	ended := make(chan error)
	go func() { ended <- (&certificates{config: c, ticks: ticks, set: set}).Run(ctx) }()
	const day = 24 * time.Hour
	ticks <- time.Now().Add(200 * day)
	ticks <- time.Now().Add(200 * day) // it is taken when the first one was dealt with
	if read() != before {
		t.Error("it was renewed long before its end")
	}
	ticks <- time.Now().Add(250 * day)
	ticks <- time.Now().Add(250 * day)
	renewed := read()
	if renewed == before {
		t.Error("it was not renewed")
	}
	set <- time.Now().Add(2 * 365 * day)
	set <- time.Now().Add(2 * 365 * day)
	if read() == renewed {
		t.Error("it was not renewed when the clock was set")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
