package kubernetes

import (
	"context"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/kube-proxy/config/v1alpha1"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
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
	c.DetectLocal.ClusterCIDRs = []string{p.config.PodCIDR}
	c.NodePortAddresses = []string{p.config.NodeIP + "/32"}
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
	nodeIP := net.ParseIP(p.config.NodeIP)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	recorder := broadcaster.NewRecorder(proxyscheme.Scheme, p.Name())
	proxier, err := nftables.NewProxier(ctx, config, corev1.IPv4Protocol,
		proxyutil.NewDetectLocalByCIDR(p.config.PodCIDR), p.config.NodeName, nodeIP, recorder, nil, false)
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
		NodeIPs:         map[corev1.IPFamily]net.IP{corev1.IPv4Protocol: nodeIP},
		Proxier:         proxier,
	}
	return nil
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
