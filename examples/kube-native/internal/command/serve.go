package command

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
	"github.com/perch-k8s/perch/examples/kube-native/internal/peers"
	"github.com/perch-k8s/perch/examples/kube-native/internal/ping"
	"github.com/perch-k8s/perch/examples/kube-native/internal/settings"
	"github.com/perch-k8s/perch/examples/kube-native/internal/web"
)

// serve answers on PORT and on the ping socket until ctx ends. The database may be down: then the page says so and
// /ready says no, until it is back.
func serve(ctx context.Context, s settings.Settings, log *slog.Logger) error {
	db, err := database.Open(context.WithoutCancel(ctx), string(s.DatabaseURL)) // it is still needed while draining
	if err != nil {
		return err
	}
	defer db.Close()
	var config net.ListenConfig
	page, err := config.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(s.Port)))
	if err != nil {
		return err
	}
	socket, err := ping.Listen(ctx, s.PingSocket)
	if err != nil {
		return errors.Join(err, page.Close())
	}
	app := &web.App{
		Identity: identity(s),
		Store:    db,
		Peers: func(ctx context.Context) ([]string, error) {
			return peers.Find(ctx, net.DefaultResolver, s.PeersHost)
		},
		Log: log,
	}
	log.Info("serving", "port", s.Port, "version", s.Version, "pod", app.Identity.Pod, "database", s.DatabaseURL)
	err = app.Serve(ctx, web.Drain{Delay: s.DrainDelay, Timeout: s.ShutdownTimeout}, page, socket)
	log.Info("stopped")
	return err
}

// identity fills in what the downward API did not say.
func identity(s settings.Settings) web.Identity {
	id := web.Identity{Version: s.Version, Pod: s.PodName, PodIP: s.PodIP}
	if id.Pod == "" {
		id.Pod, _ = os.Hostname() // a pod's and a container's host name is its name; none is shown as none
	}
	if id.PodIP == "" {
		id.PodIP = peers.OwnAddress()
	}
	return id
}

// buildVersion is the linker's version, else the commit that "go build" stamped, else "dev".
func buildVersion(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			return s.Value[:7]
		}
	}
	return "dev"
}
