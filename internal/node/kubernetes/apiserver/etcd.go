package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Etcd is the store, as a component: one member, on a unix socket.
type Etcd struct {
	Dir       string    // its data: the only thing of a cluster that cannot be made again
	SocketDir string    // where its socket goes; 0700, since whoever reaches the socket reads and writes everything
	Log       io.Writer // takes its log

	config *embed.Config
	opened chan struct{}
}

// Name is "etcd".
func (*Etcd) Name() string { return "etcd" }

// Socket is the path of the socket it listens on.
func (e *Etcd) Socket() string { return filepath.Join(e.SocketDir, "etcd.sock") }

// Init computes the configuration and makes the directories.
func (e *Etcd) Init(context.Context) error {
	e.opened = make(chan struct{})
	for _, dir := range []string{e.Dir, e.SocketDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	e.config = e.configuration()
	return nil
}

// configuration is embed's, for one member that talks to nobody.
func (e *Etcd) configuration() *embed.Config {
	c := embed.NewConfig()
	c.Name = "perch"
	c.Dir = e.Dir
	socket := url.URL{Scheme: "unix", Path: e.Socket()}
	c.ListenClientUrls = []url.URL{socket}
	c.AdvertiseClientUrls = []url.URL{socket}
	// The peer URL is part of the member's identity in the data, so it stays what it is; nobody listens there.
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	// One member wins its first election when the timeout has passed: a short one starts sooner (0.2 s, not 1 s). Each
	// tick wakes a processor, so they are no closer than that.
	c.TickMs, c.ElectionMs = 40, 200
	c.EnableGRPCGateway = false
	c.UnsafeNoFsync = false // what was answered must survive a kill and a power cut
	c.LogLevel = "warn"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapcore.NewCore(
		zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(e.Log), zapcore.WarnLevel)))
	return c
}

// Run opens the store and serves it until ctx ends.
func (e *Etcd) Run(ctx context.Context) error {
	server, err := embed.StartEtcd(e.config)
	if err != nil {
		return fmt.Errorf("store in %s: %w", e.Dir, err)
	}
	close(e.opened)
	defer server.Close()
	select {
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return fmt.Errorf("store in %s stopped", e.Dir)
	case <-ctx.Done():
		return nil
	}
}

// Ready waits until the socket takes connections. They are answered when the member has elected itself, which the API
// server need not wait for: it has other things to do first.
func (e *Etcd) Ready(ctx context.Context) error {
	select {
	case <-e.opened:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("opening the store in %s: %w", e.Dir, ctx.Err())
	}
}
