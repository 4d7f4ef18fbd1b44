// Package kubernetes runs the whole of Kubernetes in one process: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kubelet, kube-proxy, DNS and the provisioner of volumes, each unmodified, through its exported
// options and Run; and beside kube-proxy what enforces NetworkPolicies.
//
// It expects a container runtime's socket, root, and a network namespace of its own; it makes no sandbox, starts no
// other process but those of Kubernetes (nft, mount), and writes into its directories alone. It sets process-wide
// things (the klog logger, client-go's handler of warnings), so a process has one Kubernetes and is made for it. The
// libraries may end the process (klog.Fatal): what is on disk then is enough to start again.
package kubernetes

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/perch-k8s/perch/internal/node/clock"
	"github.com/perch-k8s/perch/internal/node/dns"
	"github.com/perch-k8s/perch/internal/node/kubernetes/apiserver"
	"github.com/perch-k8s/perch/internal/node/kubernetes/component"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
	"github.com/perch-k8s/perch/internal/node/metrics"
	"github.com/perch-k8s/perch/internal/node/policy"
	"github.com/perch-k8s/perch/internal/node/storage"
)

// Config is where the node lives and what it is called. Every field without "optional" must be set.
type Config struct {
	Dir              string // what must survive: the store, keys, the kubelet's state. Made with 0700
	RunDir           string // sockets: may be gone after a restart. Made with 0700
	LogDir           string // one log file for each component, and kubernetes-common.log; at most 2 x 10 MB each
	NodeName         string
	Families         []Family // IPv4, and after it IPv6 when pods and Services have it too
	ClusterDomain    string   // cluster.local
	PolicyTable      string   // the nft table, of the family inet, that NetworkPolicies are kept in
	ContainerdSocket string
	APIPort          int      // the API server's port, on all IPv4 addresses of the network namespace
	DNSUpstream      string   // optional: host:port that answers names outside of the cluster
	HostIP           string   // optional: the machine as pods reach it
	ResolvConf       string   // optional: resolv.conf of pods with dnsPolicy Default
	VolumesDir       string   // the data of persistent volumes: one directory for each
	ExtraSANs        []string // optional: further names and addresses that the API server is reached by
}

// Family is what the cluster has of one version of IP.
type Family struct {
	NodeIP      netip.Addr   // of this network namespace; it may change from one start to the next
	PodCIDR     netip.Prefix //
	ServiceCIDR netip.Prefix // its first address and, of IPv4, the .10 are the kubernetes and the DNS Service
}

// Event is a change of one component, or, with the name "kubernetes", of the whole: that is ready when the API server,
// the node and cluster DNS are, and the default service account exists.
type Event = component.Event

// The states of an Event.
const (
	Starting = component.Starting
	Ready    = component.Ready
	Exited   = component.Exited
)

const (
	wholeName    = "kubernetes"    // the component whose readiness is that of everything
	startTimeout = 2 * time.Minute // for one more component to become ready
	// The API server would take 2 s to send its clients away; all of them end with it, and the store is closed next.
	stopTimeout = 500 * time.Millisecond
	// What a client may ask of the API server in a second, where clients are the node's own and share its process.
	unthrottledQPS, unthrottledBurst = 500, 1000
)

// Run runs Kubernetes until ctx ends (it returns nil then) or a component ends, which is an error with its name. Pods
// go on running when it returns. report is called by several goroutines.
func Run(ctx context.Context, c Config, report func(Event)) error {
	if err := prompt(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	// Each component applies its logging configuration; all but the first are ignored rather than refused.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	logs := newLogs(c.LogDir)
	defer logs.close()
	logs.setGlobal()
	if err := apiserver.SetFeatures(); err != nil {
		return err
	}
	// The listener is closed with the process: an API server that has not ended in its time would panic over it, and hide
	// why all of this ends.
	steps, _, err := c.steps(ctx, logs)
	if err != nil {
		return err
	}
	return component.Run(ctx, steps, component.Options{StartTimeout: startTimeout, StopTimeout: stopTimeout}, lessGarbage(report))
}

// lessGarbage lets memory grow while everything starts, whatever GOGC says for later: most of what is allocated then is
// kept, and 30 % would cost 0.8 s. (400 % would gain another 0.2 s, and leave memory in pieces: 20 MB for good.)
func lessGarbage(report func(Event)) func(Event) {
	const duringStart = 200 // per cent
	usual := debug.SetGCPercent(duringStart)
	var once sync.Once
	return func(e Event) {
		if e.State == Exited || e.Component == wholeName && e.State == Ready {
			once.Do(func() { debug.SetGCPercent(usual) })
		}
		report(e)
	}
}

func pkiFiles(dir string) pki.Files { return pki.Files(filepath.Join(dir, "pki")) }

// steps is everything in the order of its start, and the API server's listener, which is open already. Parts that need nothing are prepared and started at once; those with
// a gate are started at once as well, and their first request waits for the API server.
func (c Config) steps(ctx context.Context, logs *logs) ([]component.Step, net.Listener, error) {
	files, err := pki.Ensure(string(pkiFiles(c.Dir)), c.pkiRequest(time.Now()))
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(c.APIPort)))
	if err != nil {
		return nil, nil, fmt.Errorf("API server: %w", err)
	}
	nodeIP := c.nodeIP()
	etcd := &apiserver.Etcd{Dir: filepath.Join(c.Dir, "etcd"), SocketDir: filepath.Join(c.RunDir, "etcd"), Log: logs.writer("etcd")}
	api := &apiserver.Server{
		Listener: listener, Files: files, EtcdSocket: etcd.Socket(), AdvertiseIP: nodeIP,
		ServiceCIDR: c.serviceCIDRs(), ClusterDomain: c.ClusterDomain,
	}
	open := gate{open: api.Serving(), closed: ctx}
	kcm := &controllers{config: c, files: files, gate: open, built: make(chan struct{})}
	resolver := &dns.Server{
		Kubeconfig: files.Kubeconfig(pki.DNS), ClusterDomain: c.ClusterDomain, NodeIP: nodeIP,
		ServiceIP: c.dnsServiceIP(), Upstream: c.DNSUpstream, HostIP: c.HostIP, Log: logs.writer("dns"), AfterStart: logs.setGlobal,
	}
	policies := policy.New(c.policies())
	volumes := &storage.Provisioner{Kubeconfig: files.Kubeconfig(pki.Storage), Dir: c.VolumesDir, NodeName: c.NodeName}
	measures := &metrics.Server{
		Kubeconfig: files.Kubeconfig(pki.Metrics), Cert: files.Cert(pki.Metrics), Key: files.Key(pki.Metrics), CA: files.Cert(pki.CA),
		FrontProxyCA: files.Cert(pki.FrontProxyCA), NodeIP: nodeIP, Log: logs.writer("metrics"),
	}
	set := make(chan time.Time)
	return logs.wrap([]component.Step{
		{Component: &certificates{config: c, ticks: time.Tick(renewEvery), set: set}},
		{Component: etcd},
		{Component: api, Needs: []string{"etcd"}},
		{Component: kcm},
		{Component: &kubelet{config: c, files: files, gate: open, controllers: kcm.built}},
		{Component: &proxy{config: c, files: files, gate: open}},
		{Component: policies},
		{Component: &apiserver.Defaults{Files: files}, Needs: []string{"kube-apiserver"}},
		{Component: &scheduler{files: files, share: policies.Watch}, Needs: []string{"kube-apiserver"}},
		{Component: resolver, Needs: []string{"kube-apiserver"}},
		{Component: volumes, Needs: []string{"kube-apiserver"}},
		// The whole does not wait for it. But the API server, on a node that was started before, knows of it: it calls itself
		// ready when each API that it knows of has answered, or has not for 5 s.
		{Component: measures, Needs: []string{"kube-apiserver"}},
		{Component: &node{config: c, files: files}, Needs: []string{"kubelet", "kube-controller-manager", "kube-proxy", "network-policies", "kube-scheduler", "default-roles", "dns", "volumes"}},
		{Component: &clock.Watcher{Kubeconfig: files.Kubeconfig(pki.Admin), Set: set}, Needs: []string{wholeName}},
	}), listener, nil
}

func (c Config) pkiRequest(now time.Time) pki.Request {
	r := pki.Request{
		NodeName: c.NodeName,
		NodeIP:   c.nodeIP(),
		Server:   "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(c.APIPort)),
		Now:      now,
	}
	r.ServerIPs = []net.IP{c.serviceIP(1)}
	name := "kubernetes"
	for _, suffix := range []string{"", ".default", ".svc", "." + c.ClusterDomain} {
		name += suffix
		r.ServerDNS = append(r.ServerDNS, name)
	}
	for _, san := range c.ExtraSANs {
		if ip := net.ParseIP(san); ip != nil {
			r.ServerIPs = append(r.ServerIPs, ip)
		} else {
			r.ServerDNS = append(r.ServerDNS, san)
		}
	}
	return r
}

// check refuses what would fail later, and less clearly.
func (c Config) check() error {
	for _, f := range []struct{ name, value string }{
		{"Dir", c.Dir}, {"RunDir", c.RunDir}, {"LogDir", c.LogDir}, {"VolumesDir", c.VolumesDir},
		{"ContainerdSocket", c.ContainerdSocket},
	} {
		if !filepath.IsAbs(f.value) {
			return fmt.Errorf("kubernetes: %s %q: not an absolute path", f.name, f.value)
		}
	}
	if len(c.Families) != 1 && len(c.Families) != 2 {
		return fmt.Errorf("kubernetes: %d families of IP: not one or two", len(c.Families))
	}
	for i, f := range c.Families {
		for _, a := range []netip.Addr{f.NodeIP, f.PodCIDR.Addr(), f.ServiceCIDR.Addr()} {
			if !a.Is4() && i == 0 || !a.Is6() && i == 1 {
				return fmt.Errorf("kubernetes: node %s, pods %s, Services %s: not all of IPv%d", f.NodeIP, f.PodCIDR, f.ServiceCIDR, 4+2*i)
			}
		}
	}
	for _, dir := range []string{c.Dir, c.RunDir, c.LogDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// kubeletDir is the kubelet's root; volumePluginDir is where it and the controllers look for volume plugins, which they
// would else look for, and make, outside of our folders.
func (c Config) kubeletDir() string      { return filepath.Join(c.Dir, "kubelet") }
func (c Config) volumePluginDir() string { return filepath.Join(c.kubeletDir(), "volume-plugins") }

// dnsServiceIP is the .10 of the service network.
func (c Config) dnsServiceIP() net.IP { return c.serviceIP(10) }

func (c Config) serviceIP(n byte) net.IP {
	a := c.Families[0].ServiceCIDR.Masked().Addr().As4()
	a[3] += n
	return net.IP(a[:])
}

// nodeIP is the node's first address.
func (c Config) nodeIP() net.IP { return c.Families[0].NodeIP.AsSlice() }

// nodeIPs, podCIDRs and serviceCIDRs are those of each family, as the flags of Kubernetes have them.
func (c Config) nodeIPs() string {
	return c.each(func(f Family) string { return f.NodeIP.String() })
}

func (c Config) podCIDRs() string {
	return c.each(func(f Family) string { return f.PodCIDR.String() })
}

func (c Config) serviceCIDRs() string {
	return c.each(func(f Family) string { return f.ServiceCIDR.String() })
}

func (c Config) each(text func(Family) string) string {
	var all []string
	for _, f := range c.Families {
		all = append(all, text(f))
	}
	return strings.Join(all, ",")
}

// poll repeats a check until it passes or ctx ends; the error is the check's last.
func poll(ctx context.Context, pause time.Duration, check func(context.Context) error) error {
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// always is a part that prepares nothing or is ready at once: the default for both.
type always struct{}

func (always) Init(context.Context) error  { return nil }
func (always) Ready(context.Context) error { return nil }
