package kubernetes

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	pkgkubelet "k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/volume"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// kubelet is the kubelet, as a component.
type kubelet struct {
	config      Config
	files       pki.Files
	gate        gate
	controllers <-chan struct{} // closed when the controllers are built

	server *options.KubeletServer
	deps   *pkgkubelet.Dependencies
}

// Name is "kubelet".
func (*kubelet) Name() string { return "kubelet" }

// options is the whole configuration, as flags and configuration file of the kubelet would set it.
func (k *kubelet) options() (*options.KubeletServer, error) {
	c := k.config
	flags := options.NewKubeletFlags()
	flags.KubeConfig = k.files.Kubeconfig(pki.Kubelet)
	flags.HostnameOverride = c.NodeName
	// Without it the kubelet looks its own name up in DNS, and can lose 40 s over it.
	flags.NodeIP = c.nodeIPs()
	flags.RootDirectory = c.kubeletDir()
	flags.CertDirectory = filepath.Join(c.kubeletDir(), "pki")
	kc, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	kc.Address, kc.HealthzPort, kc.ReadOnlyPort = c.nodeIP().String(), 0, 0
	kc.TLSCertFile, kc.TLSPrivateKeyFile = k.files.Cert(pki.Kubelet), k.files.Key(pki.Kubelet)
	kc.Authentication.Anonymous.Enabled = false
	kc.Authentication.Webhook.Enabled = true
	kc.Authentication.X509.ClientCAFile = k.files.Cert(pki.CA)
	kc.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	kc.ContainerRuntimeEndpoint = "unix://" + c.ContainerdSocket
	kc.ClusterDomain = c.ClusterDomain
	kc.ClusterDNS = []string{c.dnsServiceIP().String()}
	kc.ResolverConfig = c.ResolvConf
	kc.VolumePluginDir = c.volumePluginDir()
	kc.PodLogsDir = filepath.Join(c.Dir, "pod-logs") // on disk: /var/log may be memory
	kc.MaxPods = 250
	kc.KubeAPIQPS, kc.KubeAPIBurst = unthrottledQPS, unthrottledBurst

	// The host is somebody's laptop: it may have swap, cgroup v1 and its own sysctls, and nothing is reserved.
	kc.FailSwapOn = false
	kc.FailCgroupV1 = false
	kc.CgroupDriver = "cgroupfs"
	kc.EnforceNodeAllocatable = nil
	kc.ProtectKernelDefaults = false
	// Compose's sysctls: all that a pod has for itself. The API server takes no others without hostNetwork.
	kc.AllowedUnsafeSysctls = []string{"kernel.msg*", "kernel.sem", "kernel.shm*", "fs.mqueue.*", "net.*"}
	kc.MakeIPTablesUtilChains = false
	// As Docker does, and Kubernetes does not by default: a pod that says nothing of seccomp has the runtime's profile.
	kc.SeccompDefault = true

	// Images are pulled side by side, and the disk is the user's: images go when it is nearly full, pods when it is full.
	kc.SerializeImagePulls = false
	kc.RegistryPullQPS = 0
	limits := c.disk()
	kc.ImageGCHighThresholdPercent, kc.ImageGCLowThresholdPercent = limits.imagesHigh, limits.imagesLow
	kc.EvictionHard = limits.eviction()
	// Upstream nothing is scheduled for five minutes after a disk was full, lest pods move to and fro between machines.
	kc.EvictionPressureTransitionPeriod = metav1.Duration{Duration: 30 * time.Second}
	// Of each container's output: the present file and two older ones.
	kc.ContainerLogMaxSize, kc.ContainerLogMaxFiles = "10Mi", 3
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *kc}, nil
}

// Init computes and checks the configuration, and makes the clients that wait for the API server.
func (k *kubelet) Init(ctx context.Context) error {
	var err error
	if k.server, err = k.options(); err != nil {
		return err
	}
	for _, dir := range []string{k.server.RootDirectory, k.server.VolumePluginDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	if err := options.ValidateKubeletServer(k.server); err != nil {
		return err
	}
	if k.deps, err = app.UnsecuredDependencies(ctx, k.server, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	k.deps.DynamicPluginProber = held{k.deps.DynamicPluginProber, k.controllers, k.gate.closed}
	k.deps.Options = append(k.deps.Options, func(made *pkgkubelet.Kubelet) {
		if err := probesAtOnce(made); err != nil { // pods are ready later then: nothing to end for
			klog.FromContext(ctx).Error(err, "probes wait after the kubelet's start")
		}
	})
	return k.clients()
}

// held makes the kubelet wait, when it is about to initialise its volume plugins, until the controllers have
// initialised theirs. The CSI plugin keeps what it knows of the node in variables of its package, and the last one to
// set them must be the kubelet, not the attach-detach controller, which knows of no node: in the other order the node
// is never ready ("failed to initialize CSINode: resource name may not be empty").
type held struct {
	volume.DynamicPluginProber
	until <-chan struct{}
	ctx   context.Context
}

// Init is the first thing that is called when plugins are initialised.
func (h held) Init() error {
	select {
	case <-h.until:
	case <-h.ctx.Done():
	}
	return h.DynamicPluginProber.Init()
}

// clients gives the kubelet its three clients, which it would else make itself and without the gate.
func (k *kubelet) clients() error {
	config, err := clientcmd.BuildConfigFromFlags("", k.server.KubeConfig)
	if err != nil {
		return err
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.QPS, config.Burst = unthrottledQPS, unthrottledBurst
	k.gate.wrap(config)
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	client, err := clientset.NewForConfigAndClient(config, http)
	if err != nil {
		return err
	}
	heartbeat := rest.CopyConfig(config)
	heartbeat.QPS, heartbeat.Timeout = -1, k.server.NodeStatusUpdateFrequency.Duration
	if k.deps.HeartbeatClient, err = clientset.NewForConfig(heartbeat); err != nil {
		return err
	}
	k.deps.KubeClient, k.deps.EventClient = client, client.CoreV1()
	k.deps.OnHeartbeatFailure = http.CloseIdleConnections
	return nil
}

// Run runs the kubelet until ctx ends. The pods stay.
func (k *kubelet) Run(ctx context.Context) error {
	if err := dropMessages(k.config.kubeletDir()); err != nil {
		klog.FromContext(ctx).Error(err, "last words of ended containers are kept") // a few empty files
	}
	if err := k.awaitRuntime(ctx); err != nil {
		return fmt.Errorf("container runtime: %w", err)
	}
	return app.Run(ctx, k.server, k.deps, utilfeature.DefaultFeatureGate)
}

// awaitRuntime waits until containerd answers as a container runtime, which is a little later than on its socket. The
// kubelet looks for its socket only once a second, and ends when the first question is refused there ("server is not
// initialized yet").
func (k *kubelet) awaitRuntime(ctx context.Context) error {
	const pause = 10 * time.Millisecond
	err := poll(ctx, pause, func(ctx context.Context) error { // a gRPC connection would pause longer
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", k.config.ContainerdSocket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix://"+k.config.ContainerdSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	runtime := cri.NewRuntimeServiceClient(conn)
	return poll(ctx, pause, func(ctx context.Context) error {
		_, err := runtime.Version(ctx, &cri.VersionRequest{})
		return err
	})
}

// Ready waits until the node is registered under its present address.
func (k *kubelet) Ready(ctx context.Context) error {
	return poll(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		node, err := k.deps.KubeClient.CoreV1().Nodes().Get(ctx, k.config.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, a := range node.Status.Addresses {
			if a.Address == k.config.nodeIP().String() {
				return nil
			}
		}
		return fmt.Errorf("node %s has not got the address %s yet", node.Name, k.config.nodeIP())
	})
}
