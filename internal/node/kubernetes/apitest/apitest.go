// Package apitest gives tests a real Kubernetes API: etcd and kube-apiserver of the embedded version, in the test's own
// process, on a free port of 127.0.0.1, with nothing behind them. Objects are validated, defaulted, stored and
// watched; no controller acts on them, no pod runs. It needs no root.
//
// It is for tests only. An API server takes about a second to start, so start it once for a package:
//
//	func TestMain(m *testing.M) { os.Exit(apitest.Main(m, &kubeconfig)) }
package apitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apiserver"
	"github.com/perch-k8s/perch/internal/node/kubernetes/component"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// Server is a running API server.
type Server struct {
	Kubeconfig string // path of a kubeconfig of the cluster's administrator, with its certificates in it
	EtcdSocket string // the store's unix socket, to see what is really written

	cancel context.CancelFunc
	done   chan error
}

// Start runs an API server for one test and its subtests, and gives the path of an administrator's kubeconfig. A
// process can have one at a time.
func Start(t testing.TB) (kubeconfig string) {
	t.Helper()
	s, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s.Kubeconfig
}

// Main runs the tests of a package with one API server for all, and returns the exit code. It sets *kubeconfig before
// the first test.
func Main(m *testing.M, kubeconfig *string) (code int) {
	dir, err := os.MkdirTemp("", "perch-apitest-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		var s *Server
		if s, err = New(dir); err == nil {
			*kubeconfig = s.Kubeconfig
			code = m.Run()
			err = s.Stop()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apitest:", err)
		return max(code, 1)
	}
	return code
}

// New runs an API server that keeps its data in dir, until Stop. A second one on the same dir finds the objects of
// the first.
func New(dir string) (*Server, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(log))))
	if err := apiserver.SetFeatures(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	url := "https://" + listener.Addr().String()
	nodeIP := net.IPv4(192, 0, 2, 1) // TEST-NET-1: only written into objects
	files, err := pki.Ensure(filepath.Join(dir, "pki"), pki.Request{NodeName: "test", NodeIP: nodeIP, Server: url, Now: time.Now()})
	if err != nil {
		return nil, err
	}
	etcd := &apiserver.Etcd{Dir: filepath.Join(dir, "etcd"), SocketDir: filepath.Join(dir, "run"), Log: log}
	server := &apiserver.Server{
		Listener: listener, Files: files, EtcdSocket: etcd.Socket(), AdvertiseIP: nodeIP,
		ServiceCIDR: "10.43.0.0/16", ClusterDomain: "cluster.local",
	}
	admin, err := files.AdminKubeconfig(url)
	if err != nil {
		return nil, err
	}
	s := &Server{Kubeconfig: filepath.Join(dir, "kubeconfig"), EtcdSocket: etcd.Socket(), done: make(chan error, 1)}
	if err := os.WriteFile(s.Kubeconfig, admin, 0o600); err != nil {
		return nil, err
	}
	defaults := &apiserver.Defaults{Files: files}
	return s, s.start([]component.Step{
		{Component: etcd},
		{Component: server, Needs: []string{etcd.Name()}},
		{Component: defaults, Needs: []string{server.Name()}},
	}, defaults.Name())
}

// start runs the components and returns when the last one is ready, or one has failed.
func (s *Server) start(steps []component.Step, last string) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	ready := make(chan struct{})
	go func() {
		s.done <- component.Run(ctx, steps, component.Options{StartTimeout: time.Minute, StopTimeout: time.Minute}, func(e component.Event) {
			if e.Component == last && e.State == component.Ready {
				close(ready)
			}
		})
	}()
	select {
	case <-ready:
		return nil
	case err := <-s.done:
		cancel()
		return errors.Join(errors.New("no API server"), err)
	}
}

// Stop ends it; the data stays in its directory.
func (s *Server) Stop() error {
	s.cancel()
	return <-s.done
}
