// Package builder is the node's image builder: BuildKit as a library, on the node's own containerd, so that an image
// that was built is at once one that pods can use. It runs as a child role of our binary inside the sandbox: it is
// started by the first connection to its socket and returns when nobody uses it, so that a crash or the memory of a
// build never touches the node. It knows nothing of Compose; the other end of the socket is package image.
package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/go-runc"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// Defaults of Config.
const (
	DefaultIdle         = time.Minute
	DefaultKeep         = 10 << 30
	DefaultCgroupParent = "perch"
)

const (
	namespace   = "k8s.io"    // the CRI's: pods see what is stored here
	snapshotter = "overlayfs" // the CRI's as well, so that nothing is unpacked twice
	maxMessage  = 16 << 20    // BuildKit's own limit for one gRPC message
	stopGrace   = 10 * time.Second
)

// Config says where the builder lives and what it runs on.
type Config struct {
	Listener     net.Listener  // where BuildKit's gRPC API is served; stays usable by whoever passed it on
	Root         string        // its folder: the build cache's index and the temporary files. Made when absent
	Containerd   string        // path of containerd's socket
	Runc         string        // path of the runc binary; "": the one of PATH
	CgroupParent string        // RUN's cgroups are CgroupParent/buildkit/ID; "" is DefaultCgroupParent
	Registries   []string      // folders with a folder for each registry, as containerd has them: mirrors and certificates
	Nameservers  []string      // resolv.conf of RUN; empty: the sandbox's own
	Idle         time.Duration // how long without a connection until Run returns; 0 is DefaultIdle
	Keep         int64         // bytes that the build cache may use on disk; 0 is DefaultKeep
}

// Run serves BuildKit on c.Listener until ctx ends, or until nobody was connected for c.Idle. It returns nil in both
// cases. A connection that comes while it stops is not accepted: it waits in the listener's queue for the next Run.
//
// Run owns its process: it sets the umask, TMPDIR and the level of the libraries' logger (they write to stderr). Two
// Runs on one Root must not overlap; a Root whose last Run was killed is cleaned first, and an empty Root on a
// containerd that still has the cache of an earlier one frees that cache.
func Run(ctx context.Context, c Config) error {
	c = c.withDefaults()
	if err := prepareProcess(c.Root); err != nil {
		return err
	}
	b, err := open(ctx, c)
	if err != nil {
		return err
	}
	err = b.serve(ctx, newIdleListener(c.Listener, c.Idle))
	return errors.Join(err, b.close())
}

func (c Config) withDefaults() Config {
	if c.Idle == 0 {
		c.Idle = DefaultIdle
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.CgroupParent == "" {
		c.CgroupParent = DefaultCgroupParent
	}
	if c.Runc == "" {
		c.Runc = runc.DefaultCommand
	}
	return c
}

// prepareProcess sets what BuildKit takes from its process: no umask, or the modes of copied files are cut; a place for
// temporary mounts of our own, so that those a killed run left can be found.
func prepareProcess(root string) error {
	logrus.SetLevel(logrus.ErrorLevel) // a warning about missing tracing comes with every build otherwise
	unix.Umask(0)
	tmp := filepath.Join(root, "tmp")
	if err := sweepMounts(root); err != nil {
		return err
	}
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	return os.Setenv("TMPDIR", tmp)
}

// serve returns when ctx ends or l finds that it is idle. Builds that run when ctx ends are cancelled, and waited for,
// so that their containers are gone.
func (b *builder) serve(ctx context.Context, l net.Listener) error {
	srv := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		// Without these a client gets an error's text, but not the Dockerfile line and exit code that go with it.
		grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.WaitForHandlers(true),
	)
	b.controller.Register(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		srv.Stop()
		if errors.Is(err, errIdle) {
			return nil
		}
		return fmt.Errorf("builder: %w", err)
	case <-ctx.Done():
		stopped := make(chan struct{})
		go func() { srv.Stop(); close(stopped) }()
		select {
		case <-stopped:
		case <-time.After(stopGrace): // a RUN that cannot be killed: the next start sweeps it
		}
		return nil
	}
}
