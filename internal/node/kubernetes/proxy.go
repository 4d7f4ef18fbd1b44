package kubernetes

import (
	"context"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/kube-proxy/config/v1alpha1"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
	kubeproxy "k8s.io/kubernetes/pkg/proxy"
	proxyconfig "k8s.io/kubernetes/pkg/proxy/apis/config"
	proxyscheme "k8s.io/kubernetes/pkg/proxy/apis/config/scheme"
	"k8s.io/kubernetes/pkg/proxy/nftables"
	proxyutil "k8s.io/kubernetes/pkg/proxy/util"

	"github.com/perch-k8s/perch/internal/node/kubernetes/component"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// proxy is kube-proxy in nftables mode, as a component. It is put together here rather than by kube-proxy's own
// Options.Run, which looks for iptables rules to clean up (some 20 processes), waits a second for the Node object,
// changes sysctls that may be read-only, and ends the whole process when the node's address changes.
type proxy struct {
	always
	config Config
	files  pki.Files
	gate   gate

	server *app.ProxyServer
}

// Name is "kube-proxy".
func (*proxy) Name() string { return "kube-proxy" }

// configuration is kube-proxy's configuration file.
func (p *proxy) configuration() (*proxyconfig.KubeProxyConfiguration, error) {
	versioned := &v1alpha1.KubeProxyConfiguration{}
	proxyscheme.Scheme.Default(versioned)
	c := &proxyconfig.KubeProxyConfiguration{}
	if err := proxyscheme.Scheme.Convert(versioned, c, nil); err != nil {
		return nil, err
	}
	c.ClientConnection.Kubeconfig = p.files.Kubeconfig(pki.Proxy)
	c.Mode = proxyconfig.ProxyModeNFTables
	c.HostnameOverride = p.config.NodeName
	c.HealthzBindAddress, c.MetricsBindAddress = "", ""
	c.DetectLocalMode = proxyconfig.LocalModeClusterCIDR
	for _, f := range p.config.Families {
		c.DetectLocal.ClusterCIDRs = append(c.DetectLocal.ClusterCIDRs, f.PodCIDR.String())
		c.NodePortAddresses = append(c.NodePortAddresses, netip.PrefixFrom(f.NodeIP, f.NodeIP.BitLen()).String())
	}
	c.Linux.OOMScoreAdj = nil
	// How long a change may wait for others to be written with it.
	c.MinSyncPeriod = metav1.Duration{Duration: 10 * time.Millisecond}
	return c, nil
}

// Init makes the proxy, which changes nothing yet.
func (p *proxy) Init(ctx context.Context) error {
	config, err := p.configuration()
	if err != nil {
		return err
	}
	clientConfig, err := clientcmd.BuildConfigFromFlags("", config.ClientConnection.Kubeconfig)
	if err != nil {
		return err
	}
	clientConfig.ContentType = "application/vnd.kubernetes.protobuf"
	p.gate.wrap(clientConfig)
	client, err := clientset.NewForConfig(clientConfig)
	if err != nil {
		return err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	recorder := broadcaster.NewRecorder(proxyscheme.Scheme, p.Name())
	nodeIPs, proxier, err := p.proxier(ctx, config, recorder)
	if err != nil {
		return err
	}
	p.server = &app.ProxyServer{
		Config:          config,
		Client:          client,
		Broadcaster:     broadcaster,
		Recorder:        recorder,
		NodeRef:         &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: p.config.NodeName},
		NodeName:        p.config.NodeName,
		PrimaryIPFamily: corev1.IPv4Protocol,
		NodeIPs:         nodeIPs,
		Proxier:         proxier,
	}
	return nil
}

// proxier is what writes the rules, for one family or both.
func (p *proxy) proxier(ctx context.Context, c *proxyconfig.KubeProxyConfiguration, r events.EventRecorder) (map[corev1.IPFamily]net.IP, kubeproxy.Provider, error) {
	nodeIPs, local := map[corev1.IPFamily]net.IP{}, map[corev1.IPFamily]proxyutil.LocalTrafficDetector{}
	for i, f := range p.config.Families {
		family := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}[i]
		nodeIPs[family], local[family] = f.NodeIP.AsSlice(), proxyutil.NewDetectLocalByCIDR(f.PodCIDR.String())
	}
	if len(nodeIPs) == 2 {
		both, err := nftables.NewDualStackProxier(ctx, c, local, p.config.NodeName, nodeIPs, r, nil, false)
		return nodeIPs, both, err
	}
	one, err := nftables.NewProxier(ctx, c, corev1.IPv4Protocol, local[corev1.IPv4Protocol], p.config.NodeName, nodeIPs[corev1.IPv4Protocol], r, nil, false)
	return nodeIPs, one, err
}

// Run writes the rules of Services until ctx ends. Its own Run has no end: its goroutines go with the process.
func (p *proxy) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- component.Guard(func() error { return p.server.Run(ctx) }) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}
