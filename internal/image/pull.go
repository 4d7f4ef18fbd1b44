package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth/authprovider"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

const (
	pullHint = "connect to the network, or bring the image as a file: `perch image load FILE`"
	pullTick = 200 * time.Millisecond
)

// pull fetches an image that t is, or builds on, from its registry into the store and unpacks it.
func (rs *resolver) pull(ctx context.Context, cl *client, t *task, full string) error {
	m := cl.platform
	if t.recipe != nil {
		m = t.recipe.matcher()
	}
	short := familiar(full)
	rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "pulling " + short})
	blobs := &blobList{store: cl.ContentStore()}
	stop := rs.watchPull(ctx, t, short, blobs)
	defer stop()
	_, err := cl.Pull(ctx, full,
		containerd.WithResolver(docker.NewResolver(rs.hub.resolver(ctx))), containerd.WithPullUnpack, containerd.WithPullSnapshotter(snapshotter),
		containerd.WithPlatformMatcher(m), containerd.WithImageHandler(blobs))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case untrusted(err) != nil:
		host, _, _ := strings.Cut(full, "/")
		return fault.New(fault.Build, fmt.Sprintf("put its authority's certificate into /etc/docker/certs.d/%s/ca.crt, where docker looks too", host),
			"image %q is not in the node, and the certificate of %s is not trusted: %w", short, host, untrusted(err))
	case errdefs.IsNotFound(err):
		return fault.New(fault.Build, "check its name and tag; a private image needs `docker login`", "image %q is not in the node, and its registry does not have it", short)
	case errors.Is(err, docker.ErrInvalidAuthorization) || errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err):
		return fault.New(fault.Build, "check its name, or log in with `docker login`, whose credentials are used",
			"image %q is not in the node, and its registry either does not have it or wants a login", short)
	case unreachable(err.Error()):
		return fault.New(fault.Build, pullHint, "image %q is not in the node and no registry answers: %w", short, shortError{err})
	}
	return fault.New(fault.Build, "check its name; a private image needs `docker login`", "image %q is not in the node and cannot be pulled: %w", short, err)
}

// shortError keeps the error and shows only the end of its text.
type shortError struct{ error }

func (e shortError) Error() string { return last(e.error.Error()) }
func (e shortError) Unwrap() error { return e.error }

// blobList collects what a pull has to fetch.
type blobList struct {
	store content.Store
	mu    sync.Mutex
	blobs map[string]ocispec.Descriptor
}

var _ images.Handler = (*blobList)(nil)

// Handle is called for each manifest, config and layer of the image.
func (b *blobList) Handle(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == nil {
		b.blobs = map[string]ocispec.Descriptor{}
	}
	b.blobs[d.Digest.String()] = d
	return nil, nil
}

// watchPull reports how many bytes of the image are there, until stop is called.
func (rs *resolver) watchPull(ctx context.Context, t *task, short string, b *blobList) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pullTick)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				current, total := b.progress(ctx)
				rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "pulling " + short, Current: current, Total: total})
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (b *blobList) progress(ctx context.Context) (current, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.blobs {
		total += d.Size
		if _, err := b.store.Info(ctx, d.Digest); err == nil {
			current += d.Size
		}
	}
	active, err := b.store.ListStatuses(ctx)
	if err != nil {
		return current, total
	}
	for _, s := range active {
		for _, d := range b.blobs {
			if len(s.Ref) > len(d.Digest) && s.Ref[len(s.Ref)-len(d.Digest):] == d.Digest.String() {
				current += s.Offset
			}
		}
	}
	return current, total
}

// credentials are what the user's docker configuration has for a registry host, credential helpers included.
func credentials(host string) (user, secret string, err error) {
	a, err := authFor(host)
	if err != nil || a == nil {
		return "", "", err
	}
	if a.IdentityToken != "" {
		return "", a.IdentityToken, nil
	}
	return a.Username, a.Password, nil
}

// authConfig is credentials for BuildKit, which asks during a build.
func authConfig(_ context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
	a, err := authFor(host)
	if err != nil || a == nil {
		return types.AuthConfig{}, err
	}
	return types.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken, ServerAddress: host,
	}, nil
}

// authFor is nil for a host without credentials.
func authFor(host string) (*authn.AuthConfig, error) {
	if defaultHost(host) {
		host = name.DefaultRegistry
	}
	registry, err := name.NewRegistry(host, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("registry %q: %w", host, err)
	}
	a, err := authn.DefaultKeychain.Resolve(registry)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", host, err)
	}
	if a == authn.Anonymous {
		return nil, nil
	}
	c, err := a.Authorization()
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", host, err)
	}
	if *c == (authn.AuthConfig{}) {
		return nil, errors.New("the docker configuration has an empty entry for " + host)
	}
	return c, nil
}

// defaultHost is true for the host of names that have none. Docker keeps its credentials under another name.
func defaultHost(host string) bool {
	named, err := reference.ParseNormalizedNamed("a")
	if err != nil {
		return false
	}
	actual, err := docker.DefaultHost(reference.Domain(named))
	return err == nil && (host == reference.Domain(named) || host == actual)
}
