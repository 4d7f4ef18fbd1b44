package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/go-runc"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ownerLabel is on every lease that a builder takes; its value is the builder's identity, which lives in its Root.
const ownerLabel = "perch.dev/builder"

// ownLeases puts ownerLabel on the leases that are made through it.
type ownLeases struct {
	leases.Manager
	id string
}

var _ leases.Manager = ownLeases{}

func (o ownLeases) Create(ctx context.Context, opts ...leases.Opt) (leases.Lease, error) {
	return o.Manager.Create(ctx, append(slices.Clone(opts), func(l *leases.Lease) error {
		if l.Labels == nil {
			l.Labels = map[string]string{}
		}
		l.Labels[ownerLabel] = o.id
		return nil
	})...)
}

// deleteStaleLeases frees the cache of builders that are no more: a lease keeps layers alive for ever, and the index
// that says what they are is gone with the builder's folder.
func deleteStaleLeases(ctx context.Context, lm leases.Manager, id string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	all, err := lm.List(ctx, fmt.Sprintf("labels.%q", ownerLabel))
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range all {
		if l.Labels[ownerLabel] == id {
			continue
		}
		if err := lm.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweepContainers ends the RUNs of a builder that was killed, whose bundles are in dir. Its mounts there are gone already.
func sweepContainers(ctx context.Context, r *runc.Runc, dir string) error {
	all, err := r.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if filepath.Dir(c.Bundle) != dir {
			continue
		}
		if err := r.Delete(ctx, c.ID, &runc.DeleteOpts{Force: true}); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", c.ID, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// sweepMounts unmounts what a killed run left mounted below its root, deepest first.
func sweepMounts(root string) error {
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(root, 0o700)
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	left, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(left) {
		if m.Mountpoint == root {
			continue // the sandbox may well have mounted the folder itself
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
