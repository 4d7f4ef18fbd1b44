// Package metrics serves the resource metrics API (metrics.k8s.io), from which `kubectl top` and autoscalers read: the
// parts of metrics-server, in this process, behind the API server's aggregation.
//
// Nothing is measured while nobody asks. The first request for a measurement starts it, and after some minutes without
// another it ends:
//
//	idle ── nodes or pods are asked for ──> measuring ── nobody asked for keepFor ──> idle
package metrics

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

// Port is where it listens, on the node's address. Only the API server is let in, by its certificate.
const Port = 10270

// Server is the metrics API, as a component.
type Server struct {
	Kubeconfig   string // with the right to ask the kubelet and the API server anything
	Cert, Key    string // files: of a server with the DNS name of the Service
	CA           string // file: signed Cert
	FrontProxyCA string // file: signed the API server's certificate towards aggregated servers, and no other
	NodeIP       net.IP
	Log          io.Writer
	config       *rest.Config
	client       kubernetes.Interface
	aggregator   aggregator.Interface
	listener     net.Listener
	tls          *tls.Config
	registered   chan struct{}
}

// Name is "metrics".
func (*Server) Name() string { return "metrics" }

// Init makes the clients and opens the port.
func (s *Server) Init(context.Context) error {
	s.registered = make(chan struct{})
	var err error
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		return err
	}
	if s.client, err = kubernetes.NewForConfig(s.config); err != nil {
		return err
	}
	if s.aggregator, err = aggregator.NewForConfig(s.config); err != nil {
		return err
	}
	if s.tls, err = s.onlyAggregator(); err != nil {
		return err
	}
	s.listener, err = net.Listen("tcp4", net.JoinHostPort(s.NodeIP.String(), strconv.Itoa(Port)))
	return err
}

// onlyAggregator lets nobody in but who has a certificate of the front proxy's authority. What it says of a user is
// believed.
func (s *Server) onlyAggregator() (*tls.Config, error) {
	certificate := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { // read each time: it is renewed while the node runs
		c, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		return &c, err
	}
	if _, err := certificate(nil); err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(s.FrontProxyCA)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: no certificate", s.FrontProxyCA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: certificate,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	logger := log.New(s.Log, "", log.LstdFlags)
	meter := newMeter(logger, s.config, s.client)
	server := &http.Server{
		Handler: newHandler(meter), TLSConfig: s.tls, ReadHeaderTimeout: 10 * time.Second, ErrorLog: logger,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(s.listener, "", "") }()
	defer func() { _ = server.Close() }()
	if err := s.ensureObjects(ctx); err != nil {
		return err
	}
	close(s.registered)
	metered := make(chan struct{})
	go func() { defer close(metered); meter.run(ctx) }()
	defer func() { <-metered }()
	select {
	case err := <-served:
		if !errors.Is(err, http.ErrServerClosed) {
			return err
		}
	case <-ctx.Done():
	}
	return nil
}

// Ready waits until the API is registered. It answers a little later, when the API server has seen that.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.registered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("metrics API: %w", ctx.Err())
	}
}
