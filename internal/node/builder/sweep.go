package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
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

// sweepContainers removes the containers of RUNs whose builder was killed. They have no label, but the cgroup that
// only a builder gives.
func sweepContainers(ctx context.Context, cl *containerd.Client, cgroupParent string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	all, err := cl.Containers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		own, err := isOwn(ctx, c, cgroupParent)
		if err == nil && own {
			err = removeContainer(ctx, c)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("container %s: %w", c.ID(), err))
		}
	}
	return errors.Join(errs...)
}

func isOwn(ctx context.Context, c containerd.Container, cgroupParent string) (bool, error) {
	info, err := c.Info(ctx, containerd.WithoutRefreshedMetadata)
	if err != nil || len(info.Labels) > 0 {
		return false, err
	}
	spec, err := c.Spec(ctx)
	if err != nil || spec.Linux == nil {
		return false, err
	}
	return spec.Linux.CgroupsPath == path.Join("/", cgroupParent, "buildkit", c.ID()), nil
}

func removeContainer(ctx context.Context, c containerd.Container) error {
	task, err := c.Task(ctx, nil)
	if err == nil {
		_, err = task.Delete(ctx, containerd.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return c.Delete(ctx)
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
