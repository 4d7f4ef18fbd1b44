// Package apiserver is the part of Kubernetes that keeps and serves objects: etcd and kube-apiserver, as components.
// They need no root, no container runtime and no network of their own, so tests of other packages run them too
// (package apitest).
package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/features"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// Server is kube-apiserver, as a component.
type Server struct {
	Listener      net.Listener // where it serves; it owns it
	Files         pki.Files
	EtcdSocket    string
	AdvertiseIP   net.IP // what the endpoints of the kubernetes Service say
	ServiceCIDR   string
	ClusterDomain string

	completed options.CompletedOptions
	client    *http.Client
	url       string
	serving   chan struct{}
	once      sync.Once
}

// Serving is closed when the server answers requests of system:masters and of nodes, whose rights are not objects.
func (s *Server) Serving() <-chan struct{} {
	s.once.Do(func() { s.serving = make(chan struct{}) })
	return s.serving
}

// Name is "kube-apiserver".
func (*Server) Name() string { return "kube-apiserver" }

// Init completes and checks the options.
func (s *Server) Init(ctx context.Context) error {
	// The warnings of the API are for users' clients, not for the parts of the node.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	config, err := clientcmd.BuildConfigFromFlags("", s.Files.Kubeconfig(pki.Admin))
	if err != nil {
		return err
	}
	config.Timeout = 5 * time.Second
	if s.client, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	s.url = config.Host
	o := s.options()
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if o.InformerName, err = cache.NewInformerName(s.Name()); err != nil {
		return err
	}
	if s.completed, err = o.Complete(ctx); err != nil {
		return err
	}
	s.completed.ServiceAccountIssuer = early{s.completed.ServiceAccountIssuer}
	return utilerrors.NewAggregate(s.completed.Validate())
}

// SetFeatures turns on what is off by default and Perch needs, for all components of the process: so before any of them.
// Compose's stop_signal is the signal of a pod's container (KEP-4960, alpha in 1.37; containerd has it).
func SetFeatures() error {
	return utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{string(features.ContainerStopSignals): true})
}

// options is the whole configuration, as kube-apiserver's flags would set it.
func (s *Server) options() *options.ServerRunOptions {
	o := options.NewServerRunOptions()
	o.Flags() // making the flags sets some defaults that nothing else sets
	o.Etcd.StorageConfig.Transport.ServerList = []string{"unix://" + s.EtcdSocket}
	o.Etcd.EncryptionProviderConfigFilepath = s.Files.Encryption()
	o.GenericServerRunOptions.AdvertiseAddress = s.AdvertiseIP
	o.SecureServing.Listener = s.Listener
	o.SecureServing.BindAddress, o.SecureServing.BindPort = splitAddr(s.Listener.Addr())
	o.SecureServing.ServerCert.CertKey.CertFile = s.Files.Cert(pki.APIServer)
	o.SecureServing.ServerCert.CertKey.KeyFile = s.Files.Key(pki.APIServer)

	o.Authentication.ClientCert.ClientCA = s.Files.Cert(pki.CA)
	o.Authentication.RequestHeader.ClientCAFile = s.Files.Cert(pki.FrontProxyCA)
	o.Authentication.RequestHeader.AllowedNames = []string{"front-proxy-client"}
	o.Authentication.RequestHeader.UsernameHeaders = []string{"X-Remote-User"}
	o.Authentication.RequestHeader.GroupHeaders = []string{"X-Remote-Group"}
	o.Authentication.RequestHeader.ExtraHeaderPrefixes = []string{"X-Remote-Extra-"}
	o.ProxyClientCertFile = s.Files.Cert(pki.FrontProxy)
	o.ProxyClientKeyFile = s.Files.Key(pki.FrontProxy)
	o.Authentication.ServiceAccounts.Issuers = []string{"https://kubernetes.default.svc." + s.ClusterDomain}
	o.Authentication.ServiceAccounts.KeyFiles = []string{s.Files.ServiceAccountKey()}
	o.ServiceAccountSigningKeyFile = s.Files.ServiceAccountKey()

	o.Authorization.Modes = []string{"Node", "RBAC"}
	o.Admission.GenericAdmission.EnablePlugins = []string{"NodeRestriction"}
	o.AllowPrivileged = true

	o.KubeletConfig.PreferredAddressTypes = []string{"InternalIP"}
	o.KubeletConfig.TLSClientConfig.CertFile = s.Files.Cert(pki.KubeletClient)
	o.KubeletConfig.TLSClientConfig.KeyFile = s.Files.Key(pki.KubeletClient)
	o.KubeletConfig.TLSClientConfig.CAFile = s.Files.Cert(pki.CA)

	o.ServiceClusterIPRanges = s.ServiceCIDR
	o.EventTTL = time.Hour
	o.Features.EnableProfiling = false
	// When stopped: 2 s for what still runs, not a minute.
	o.GenericServerRunOptions.ShutdownSendRetryAfter = true
	return o
}

func splitAddr(a net.Addr) (net.IP, int) {
	host, port, _ := net.SplitHostPort(a.String())
	n, _ := strconv.Atoi(port)
	return net.ParseIP(host), n
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.completed.InformerName.Release()
	// As app.Run does, but for the two hooks that Defaults stands in for.
	config, err := app.NewConfig(s.completed)
	if err != nil {
		return err
	}
	for _, c := range []*genericapiserver.Config{
		config.KubeAPIs.ControlPlane.Generic, &config.ApiExtensions.GenericConfig.Config, &config.Aggregator.GenericConfig.Config,
	} {
		c.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName, schedulingrest.PostStartHookName)
	}
	completed, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := app.CreateServerChain(completed)
	if err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

// Ready waits until it serves (see Serving). Whoever needs more asks /readyz.
func (s *Server) Ready(ctx context.Context) error {
	const pause = 10 * time.Millisecond
	for {
		err := s.probe(ctx, "/api/v1/namespaces/kube-system")
		if err == nil {
			s.Serving()
			close(s.serving)
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", s.url, err)
		}
	}
}

func (s *Server) probe(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %s", resp.Status)
	}
	return nil
}
