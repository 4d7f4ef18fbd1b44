package image

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
)

// files are those of an image in the store, read where the store has unpacked them: the node's folder is one of this
// machine. How the layers lie is the snapshotter's secret, which a view of them tells; the view itself is gone again at
// once, for the layers are the image's.
func (cl *client) files(ctx context.Context, ref string) (files, error) {
	i, err := cl.ImageService().Get(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	img := containerd.NewImageWithPlatform(cl.Client, i, cl.platform)
	diffs, err := img.RootFS(ctx)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	if len(diffs) == 0 {
		return nil, nil
	}
	chain := identity.ChainID(diffs).String()
	mounts, err := cl.view(ctx, chain)
	if errdefs.IsNotFound(err) {
		if err := img.Unpack(ctx, snapshotter); err != nil {
			return nil, fmt.Errorf("image %s: unpack: %w", familiar(ref), err)
		}
		mounts, err = cl.view(ctx, chain)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	out := layersOf(mounts)
	if out == nil {
		return nil, fmt.Errorf("image %s: the store does not say where its layers are: %v", familiar(ref), mounts)
	}
	return out, nil
}

func (cl *client) view(ctx context.Context, chain string) ([]mount.Mount, error) {
	s := cl.SnapshotService(snapshotter)
	key := "perch-look-" + rand.Text()
	mounts, err := s.View(ctx, key, chain)
	if err != nil {
		return nil, err
	}
	// No lease held it: the collector may have been faster, as it will be when we are killed here.
	if err := s.Remove(context.WithoutCancel(ctx), key); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	return mounts, nil
}

// layersOf is the folders that a view shows, the topmost first: one is bound, several are an overlay. Nil: neither.
func layersOf(mounts []mount.Mount) files {
	if len(mounts) != 1 {
		return nil
	}
	m := mounts[0]
	if m.Type == "bind" {
		return files{diskLayer(m.Source)}
	}
	n := slices.IndexFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "lowerdir=") })
	if m.Type != "overlay" || n < 0 {
		return nil
	}
	var out files
	for dir := range strings.SplitSeq(strings.TrimPrefix(m.Options[n], "lowerdir="), ":") {
		out = append(out, diskLayer(dir))
	}
	return out
}
