package image

import (
	"context"
	"fmt"
	"io"
	"net"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	buildkit "github.com/moby/buildkit/client"
	"github.com/sirupsen/logrus"

	"github.com/perch-k8s/perch/internal/fault"
)

const startHint = "start the node with `perch cluster start`"

// client is a connection to the store. Use it from one Resolve, List or Load, and close it.
type client struct {
	*containerd.Client
	platform platforms.MatchComparer
}

// dial connects to the store. Store{} is an empty one, for a dry run without a node.
func (s Store) dial() (*client, error) {
	if s.Containerd == "" {
		return emptyClient(), nil
	}
	// containerd's own client waits for a socket to appear, without end.
	probe, err := net.DialTimeout("unix", s.Containerd, dialTimeout)
	if err != nil {
		return nil, fault.New(fault.Unreachable, startHint, "%w: %w", errNoStore, err)
	}
	_ = probe.Close()
	cl, err := containerd.New(s.Containerd,
		containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(dialTimeout), containerd.WithDefaultPlatform(nodePlatform()))
	if err != nil {
		return nil, fault.New(fault.Unreachable, startHint, "%w: %s: %w", errNoStore, s.Containerd, err)
	}
	return &client{cl, nodePlatform()}, nil
}

// nodePlatform is this machine's: client and node are one.
func nodePlatform() platforms.MatchComparer { return platforms.Only(platforms.DefaultSpec()) }

// emptyClient is of a store that has nothing.
func emptyClient() *client { return &client{nil, nodePlatform()} }

// close is called when all that was asked is answered: what it returns would change nothing.
func (cl *client) close() {
	if cl.Client != nil {
		_ = cl.Client.Close()
	}
}

// builder connects to BuildKit. The node starts it when the connection comes, so the first answer may take a while.
func (s Store) builder(ctx context.Context) (*buildkit.Client, error) {
	c, err := buildkit.New(ctx, "", buildkit.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.Builder)
	}))
	if err != nil {
		return nil, fmt.Errorf("builder: %w", err)
	}
	return c, nil
}

// quiet keeps the client libraries from writing to stderr, which is the user's: what they have to say is in the errors.
func quiet(ctx context.Context) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(l))
}
