package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// How often something is tried at a registry, and how long is waited in between: half a second, then one and a half.
const (
	tries      = 3
	firstPause = 500 * time.Millisecond
	longer     = 3.0
)

// hub is the way to registries, for one Resolve: who is trusted, how long is waited, where mirrors are. Credentials are those
// of the Docker configuration.
type hub struct {
	stall        time.Duration
	hasty        bool // a dry run: nothing is tried twice
	certificates []string
	mirrors      Mirrors

	mu   sync.Mutex
	ways map[string]http.RoundTripper // by host and port
}

var _ http.RoundTripper = (*hub)(nil)

func newHub(o Options) *hub {
	return &hub{
		hasty: o.DryRun, stall: cmp.Or(o.Registry.Stall, defaultStall), certificates: o.Certificates, mirrors: o.Mirrors, ways: map[string]http.RoundTripper{},
	}
}

// errPlain is of a registry that has no TLS: passwords and images would be anybody's on the way.
var errPlain = errors.New("without TLS only registries on this machine are used")

// RoundTrip asks a registry, or whatever it sends us on to.
func (h *hub) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !loopback(r.URL.Host) {
		return nil, errPlain
	}
	way, err := h.way(r.URL.Host)
	if err != nil {
		return nil, err
	}
	return way.RoundTrip(r)
}

// way is the transport for a host, made once.
func (h *hub) way(host string) (http.RoundTripper, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.ways[host]; w != nil {
		return w, nil
	}
	found, err := config.ConfigureHosts(context.Background(), h.hostOptions())(host)
	if err != nil {
		return nil, fmt.Errorf("certificates of %s: %w", host, err)
	}
	for _, f := range found {
		if f.Host == host {
			h.ways[host] = f.Client.Transport
			return f.Client.Transport, nil
		}
	}
	return nil, fmt.Errorf("registry %s: its hosts.toml does not let it be asked", host)
}

func (h *hub) hostOptions() config.HostOptions {
	return config.HostOptions{
		HostDir: hostDir(h.certificates), Credentials: credentials,
		DefaultScheme: "https", // without it, certificates of this machine's own registries would not be looked at
		UpdateClient: func(c *http.Client) error {
			if t, ok := c.Transport.(*http.Transport); ok {
				t.DialContext = stallingDialer(h.stall)
				t.ResponseHeaderTimeout = 0 // a registry may need long to check a big layer; the dialer has the limit
			}
			return nil
		},
	}
}

// hosts is how containerd finds a registry. One on this machine may be without TLS.
func (h *hub) hosts(ctx context.Context) docker.RegistryHosts {
	find := config.ConfigureHosts(ctx, h.hostOptions())
	return func(host string) ([]docker.RegistryHost, error) {
		found, err := find(host)
		for _, f := range found {
			if loopback(f.Host) {
				f.Client.Transport = docker.NewHTTPFallback(f.Client.Transport)
			}
		}
		return found, err
	}
}

// loopback is true for an address of this machine, with a port or without.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// options are those of go-containerregistry. What fails is tried again when again says so; nil never does.
func (h *hub) options(ctx context.Context, again func(error) bool) []remote.Option {
	steps := tries
	if again == nil || h.hasty {
		steps, again = 1, func(error) bool { return false }
	}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(h), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithRetryPredicate(again), remote.WithRetryBackoff(remote.Backoff{Duration: firstPause, Factor: longer, Jitter: 0.1, Steps: steps}),
	}
}

// get is what a registry, or a mirror of it, has under a name. The error is the registry's own.
func (h *hub) get(ctx context.Context, ref string) (*remote.Descriptor, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	for _, at := range append(h.mirrors.of(named), ref) {
		var parsed name.Reference
		if parsed, err = name.ParseReference(at, name.WeakValidation); err != nil {
			return nil, err
		}
		var d *remote.Descriptor
		if d, err = remote.Get(parsed, h.options(ctx, nil)...); err == nil {
			return d, nil
		}
	}
	return nil, err
}
