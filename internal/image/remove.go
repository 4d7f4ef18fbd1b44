package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	buildkit "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/perch-k8s/perch/internal/fault"
)

// Remove takes images out of the store by their full names, and frees what nothing else needs of them. What of them other
// images or containers need stays; a name that is not there is no error.
func (s Store) Remove(ctx context.Context, refs []string) error {
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return err
	}
	defer cl.close()
	if cl.Client == nil {
		return fault.New(fault.Unreachable, startHint, "%w", errNoStore)
	}
	all, err := cl.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	i := inventory{images: all, running: map[string]bool{}}
	if err := cl.containersOf(ctx, &i); err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	gone := i.goneWith(refs)
	for n, ref := range gone {
		var how []images.DeleteOpt
		if n == len(gone)-1 { // with the last one, the store frees the space of all
			how = append(how, images.SynchronousDelete())
		}
		if err := cl.ImageService().Delete(ctx, ref, how...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("image %s: %w", familiar(ref), err)
		}
	}
	return nil
}

// goneWith is pure: the names that go, with those that the CRI made for an image of which no other name is left: they
// would hold it for ever. A container that runs on it may have to be started again, by such a name.
func (i inventory) goneWith(refs []string) []string {
	var gone []string
	going, left, running := map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, img := range i.images {
		running[img.Target.Digest] = running[img.Target.Digest] || i.running[img.Name]
		if slices.Contains(refs, img.Name) {
			gone = append(gone, img.Name)
			going[img.Target.Digest] = true
		} else if isName(img.Name) {
			left[img.Target.Digest] = true
		}
	}
	for _, img := range i.images {
		if going[img.Target.Digest] && !isName(img.Name) && !left[img.Target.Digest] && !running[img.Target.Digest] && !slices.Contains(gone, img.Name) {
			gone = append(gone, img.Name)
		}
	}
	return gone
}

// RemoveCache empties the build cache, and returns how many bytes that were.
func (s Store) RemoveCache(ctx context.Context) (int64, error) {
	bk, err := s.builder(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = bk.Close() }()
	removed := make(chan buildkit.UsageInfo)
	done := make(chan struct{})
	var bytes int64
	go func() {
		defer close(done)
		for one := range removed {
			bytes += one.Size
		}
	}()
	err = bk.Prune(ctx, removed, buildkit.PruneAll)
	close(removed)
	<-done
	if err != nil {
		return bytes, fmt.Errorf("build cache: %w", err)
	}
	return bytes, nil
}
