package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/config"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// controllers is kube-controller-manager, as a component.
type controllers struct {
	config Config
	files  pki.Files
	gate   gate
	built  chan struct{} // closed when every controller is built

	completed *config.CompletedConfig
	once      sync.Once
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
	o.KubeCloudShared.ClusterCIDR = c.config.podCIDRs()
	// The one node has the whole pod network, by its CNI configuration: there is nothing to divide.
	o.KubeCloudShared.AllocateNodeCIDRs = false
	o.SAController.ServiceAccountKeyFile = c.files.ServiceAccountKey()
	o.SAController.RootCAFile = c.files.Cert(pki.CA)
	o.CSRSigningController.ClusterSigningCertFile = c.files.Cert(pki.CA)
	o.CSRSigningController.ClusterSigningKeyFile = c.files.Key(pki.CA)
	o.PersistentVolumeBinderController.VolumeConfiguration.FlexVolumePluginDir = c.config.volumePluginDir()
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
	config, err := o.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return err
	}
	c.gate.wrap(config.Kubeconfig)
	config.Kubeconfig.Wrap(func(next http.RoundTripper) http.RoundTripper { return observed{c, next} })
	config.Client, err = clientset.NewForConfig(rest.AddUserAgent(config.Kubeconfig, options.KubeControllerManagerUserAgent))
	c.completed = config.Complete()
	return err
}

// Run runs the controllers until ctx ends.
func (c *controllers) Run(ctx context.Context) error { return app.Run(ctx, c.completed) }

// Ready waits until every controller is built.
func (c *controllers) Ready(ctx context.Context) error {
	select {
	case <-c.built:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("building the controllers: %w", ctx.Err())
	}
}

// observed sees the requests of the controllers.
type observed struct {
	controllers *controllers
	next        http.RoundTripper
}

// RoundTrip answers the question after the API server's health, which is asked once a second before anything is
// built: the gate lets requests through as soon as the server serves, while its /healthz fails a second longer, until
// the default RBAC roles are written. And it takes the first request of the attach-detach controller's informer,
// which starts when all controllers are built, for the sign that they are.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.Path {
	case "/healthz":
		return &http.Response{
			Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: http.NoBody, Request: r,
		}, nil
	case "/apis/storage.k8s.io/v1/volumeattachments":
		o.controllers.once.Do(func() { close(o.controllers.built) })
	}
	return o.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport behind, to close its idle connections.
func (o observed) WrappedRoundTripper() http.RoundTripper { return o.next }
