package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"
)

const (
	snapshotter = "overlayfs"
	stopGrace   = 10 * time.Second // as Compose's stop_grace_period
	connectStep = 5 * time.Millisecond
)

// WaitReady waits until something answers on the socket.
func WaitReady(ctx context.Context, socket string) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd on %s: %w", socket, errors.Join(context.Cause(ctx), err))
		case <-time.After(connectStep):
		}
	}
}

func connect(socket string) (*client.Client, error) {
	return client.New(socket, client.WithDefaultNamespace(Namespace), client.WithTimeout(10*time.Second))
}

// EnsureImage imports an image from an OCI archive unless the node has it, unpacked. Garbage collection leaves it alone.
func EnsureImage(ctx context.Context, socket, ref string, archive func() ([]byte, error)) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx = namespaces.WithNamespace(ctx, Namespace)
	image, err := c.GetImage(ctx, ref)
	if err == nil {
		if ok, err := image.IsUnpacked(ctx, snapshotter); err == nil && ok {
			return nil
		}
	} else if !errdefs.IsNotFound(err) {
		return err
	}
	data, err := archive()
	if err != nil {
		return err
	}
	images, err := c.Import(ctx, bytes.NewReader(data), client.WithImageLabels(map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}))
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	for _, i := range images {
		if err := client.NewImage(c, i).Unpack(ctx, snapshotter); err != nil {
			return fmt.Errorf("image %s: %w", ref, err)
		}
	}
	return nil
}

// StopAll ends every container as `docker stop` would: its own stop signal, then SIGKILL when its time is over. The
// databases among them are then cleanly closed.
func StopAll(ctx context.Context, socket string) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx = namespaces.WithNamespace(ctx, Namespace)
	containers, err := c.Containers(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make([]error, len(containers))
	for i, container := range containers {
		all.Go(func() { errs[i] = stop(ctx, c, container) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func stop(ctx context.Context, c *client.Client, container client.Container) error {
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ended, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Kill(ctx, stopSignal(ctx, container)); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(stopGrace):
	}
	if err := task.Kill(ctx, syscall.SIGKILL, client.WithKillAll); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// stopSignal is the image's STOPSIGNAL, SIGTERM when it has none.
func stopSignal(ctx context.Context, container client.Container) syscall.Signal {
	image, err := container.Image(ctx)
	if err != nil {
		return syscall.SIGTERM
	}
	name, err := client.GetOCIStopSignal(ctx, image, "SIGTERM")
	if err != nil {
		return syscall.SIGTERM
	}
	number, err := signal.ParseSignal(name)
	if err != nil {
		return syscall.SIGTERM
	}
	return number
}
