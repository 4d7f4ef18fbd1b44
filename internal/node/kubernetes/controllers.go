package kubernetes

import (
	"context"
	"net/netip"

	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/config"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// controllers is kube-controller-manager, as a component.
type controllers struct {
	always
	files   pki.Files
	podCIDR netip.Prefix
	gate    gate

	config *config.Config
}

// Name is "kube-controller-manager".
func (*controllers) Name() string { return "kube-controller-manager" }

// options is the whole configuration, as the flags of kube-controller-manager would set it.
func (c *controllers) options() (*options.KubeControllerManagerOptions, error) {
	o, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	// Making the flags sets some defaults that nothing else sets.
	o.Flags(app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	o.Generic.ClientConnection.Kubeconfig = c.files.Kubeconfig(pki.Controllers)
	o.Generic.ClientConnection.QPS, o.Generic.ClientConnection.Burst = unthrottledQPS, unthrottledBurst
	o.Generic.LeaderElection.LeaderElect = false
	o.Generic.Debugging.EnableProfiling = false
	// One identity for all controllers: they share a process with the administrator's key, and a service account
	// for each costs some 40 objects and as many requests at each start.
	o.KubeCloudShared.UseServiceAccountCredentials = false
	o.KubeCloudShared.ClusterCIDR = c.podCIDR.String()
	o.KubeCloudShared.AllocateNodeCIDRs = true
	// The one node has the whole pod network, which is what its CNI configuration says.
	o.NodeIPAMController.NodeCIDRMaskSize = int32(c.podCIDR.Bits())
	o.SAController.ServiceAccountKeyFile = c.files.ServiceAccountKey()
	o.SAController.RootCAFile = c.files.Cert(pki.CA)
	o.CSRSigningController.ClusterSigningCertFile = c.files.Cert(pki.CA)
	o.CSRSigningController.ClusterSigningKeyFile = c.files.Key(pki.CA)
	// Nobody scrapes it, and its server would need the API server's authentication to be set up first.
	o.SecureServing.BindPort = 0
	return o, nil
}

// Init computes and checks the configuration.
func (c *controllers) Init(ctx context.Context) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if c.config, err = o.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()); err != nil {
		return err
	}
	c.gate.wrap(c.config.Kubeconfig)
	c.config.Client, err = clientset.NewForConfig(rest.AddUserAgent(c.config.Kubeconfig, options.KubeControllerManagerUserAgent))
	return err
}

// Run runs the controllers until ctx ends.
func (c *controllers) Run(ctx context.Context) error { return app.Run(ctx, c.config.Complete()) }
