package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseOf is the image among the candidates, NAME@sha256:…, that an image of the store was built on: it begins with all layers of
// that one. "" when there is none; of several, the one with most layers.
func (cl *client) baseOf(ctx context.Context, ref string, candidates []string, m platforms.MatchComparer) (string, error) {
	if len(candidates) == 0 {
		return "", nil
	}
	i, err := cl.ImageService().Get(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	layers, err := cl.diffs(ctx, i.Target, m)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	best, most := "", 0
	for _, c := range candidates {
		_, d, _ := strings.Cut(c, "@")
		target, err := cl.descriptor(ctx, d)
		if err != nil {
			continue // the builder keeps what it needs
		}
		under, err := cl.diffs(ctx, target, m)
		if err == nil && len(under) > most && len(under) <= len(layers) && slices.Equal(under, layers[:len(under)]) {
			best, most = c, len(under)
		}
	}
	return best, nil
}

// diffs are the layers of an image, unpacked, from the lowest.
func (cl *client) diffs(ctx context.Context, target ocispec.Descriptor, m platforms.MatchComparer) ([]digest.Digest, error) {
	config, err := images.Config(ctx, cl.ContentStore(), target, m)
	if err != nil {
		return nil, err
	}
	return images.RootFS(ctx, cl.ContentStore(), config)
}

// matcher matches any of the platforms that r is built for.
func (r *recipe) matcher() platforms.MatchComparer {
	var all []ocispec.Platform
	for _, text := range r.platforms {
		if p, err := platforms.Parse(text); err == nil {
			all = append(all, p)
		}
	}
	return platforms.Any(all...)
}
