// Package dns answers the names of the cluster: CoreDNS with its kubernetes plugin, in this process, on the node's own
// address, and the Service by which pods reach it. Names outside of the cluster go to one upstream, or nowhere.
package dns

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind" // this plugin and those below are what the Corefile names
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const port = 53

// Server is cluster DNS, as a component.
type Server struct {
	Kubeconfig    string
	ClusterDomain string
	NodeIP        net.IP    // where it listens, UDP and TCP
	ServiceIP     net.IP    // where pods ask: an address of the service network
	Upstream      string    // host:port for names outside of the cluster; "" refuses them
	HostIP        string    // the machine as pods reach it: host.docker.internal; "" has no such name
	Log           io.Writer // takes its log
	AfterStart    func()    // called once it runs: CoreDNS takes klog's process-wide logger over, and gives it back never

	client  kubernetes.Interface
	started chan struct{}
}

// Name is "dns".
func (*Server) Name() string { return "dns" }

// Init makes the client.
func (s *Server) Init(context.Context) error {
	s.started = make(chan struct{})
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	s.client, err = kubernetes.NewForConfig(config)
	return err
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	clog.SetOutput(s.Log)
	caddy.Quiet, dnsserver.Quiet = true, true
	registerComposeNames()
	objects := make(chan error, 1)
	go func() { objects <- s.ensureObjects(ctx) }()
	instance, err := caddy.Start(caddy.CaddyfileInput{
		Filepath: "Corefile", Contents: []byte(s.corefile()), ServerTypeName: "dns",
	})
	if err != nil {
		return err
	}
	defer func() { _ = instance.Stop() }()
	s.AfterStart()
	if err := <-objects; err != nil {
		return err
	}
	close(s.started)
	<-ctx.Done()
	return nil
}

// Ready waits until it answers.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.started:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cluster DNS on %s: %w", s.NodeIP, ctx.Err())
	}
}

// corefile is CoreDNS's configuration. A pod asks for a name outside with each of its search domains first, so the
// cluster's own answers, also those that there is no such name, must be fast; they are not cached, since a Service
// that was just made must be found. Without an upstream, names outside are refused.
func (s *Server) corefile() string {
	const reverse = "in-addr.arpa ip6.arpa"
	zones := s.ClusterDomain + " " + reverse
	outside := ""
	if s.HostIP != "" {
		outside = fmt.Sprintf(`
	hosts /dev/null {
		%s host.docker.internal
		ttl 30
		fallthrough
	}`, s.HostIP)
	}
	if s.Upstream != "" {
		zones = "."
		outside += fmt.Sprintf(`
	cache 30 {
		disable success %[1]s
		disable denial %[1]s
	}
	forward . %[2]s {
		max_fails 0
	}`, s.ClusterDomain, s.Upstream)
	}
	return fmt.Sprintf(`%s {
	bind %s
	errors
	%s %s
	kubernetes %s %s {
		kubeconfig %q
		pods insecure
		ttl 5
		fallthrough %s
	}%s
}
`, zones, s.NodeIP, composeNamesDirective, s.ClusterDomain, s.ClusterDomain, reverse, s.Kubeconfig, reverse, outside)
}
