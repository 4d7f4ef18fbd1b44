package imagetest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Runs is the IDs of the RUNs that run in the builder, or were left there.
func (n *Node) Runs(t *testing.T) []string {
	t.Helper()
	bundles, err := filepath.Glob(filepath.Join(n.Dir, "builder", "worker", "executor", "*", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, b := range bundles {
		ids = append(ids, filepath.Base(filepath.Dir(b)))
	}
	return ids
}

// Alive tells whether a RUN has a process, by its control group.
func (n *Node) Alive(t *testing.T, id string) bool {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(groups, func(group string) bool {
		data, _ := os.ReadFile(group)
		_, zombie := os.Readlink(filepath.Join(filepath.Dir(group), "exe")) // nobody in the test's namespace asks how it ended
		return zombie == nil && strings.Contains(string(data), "/buildkit/"+id)
	})
}

// Leases is the IDs of the leases that keep content of the node alive.
func (n *Node) Leases(t *testing.T) []string {
	t.Helper()
	var ids []string
	n.client(t, func(c *containerd.Client) error {
		all, err := c.LeasesService().List(t.Context())
		for _, l := range all {
			ids = append(ids, l.ID)
		}
		return err
	})
	return ids
}

func (n *Node) client(t *testing.T, f func(*containerd.Client) error) {
	t.Helper()
	c, err := containerd.New(n.Containerd, containerd.WithDefaultNamespace("k8s.io"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := f(c); err != nil {
		t.Fatal(err)
	}
}

// Views is the names of the snapshots that show an image's files.
func (n *Node) Views(t *testing.T) []string {
	t.Helper()
	var names []string
	n.client(t, func(c *containerd.Client) error {
		return c.SnapshotService("overlayfs").Walk(t.Context(), func(_ context.Context, s snapshots.Info) error {
			if s.Kind == snapshots.KindView {
				names = append(names, s.Name)
			}
			return nil
		})
	})
	return names
}

// Blob is what the node's content store has under a digest.
func (n *Node) Blob(t *testing.T, sum string) []byte {
	t.Helper()
	var blob []byte
	n.client(t, func(c *containerd.Client) (err error) {
		blob, err = content.ReadBlob(t.Context(), c.ContentStore(), ocispec.Descriptor{Digest: digest.Digest(sum)})
		return err
	})
	return blob
}
