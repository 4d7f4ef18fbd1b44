package image

import (
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stored is a name in the store for what the digest names.
func stored(name, target string, labels map[string]string) images.Image {
	return images.Image{Name: name, Target: ocispec.Descriptor{Digest: digest.Digest(target)}, Labels: labels, CreatedAt: time.Unix(int64(len(target)), 0)}
}

// shop is a base image and two that were built on it; a container runs on the newer of them.
func shop() inventory {
	made := map[string]string{inputsLabel: "x"}
	return inventory{
		blobs: map[string]int64{"base": 1, "layer": 10, "one": 100, "two": 1000, "stray": 7},
		snapshots: map[string]snapshot{
			"layer": {size: 20}, "one": {size: 200}, "two": {size: 2000}, "cached": {size: 5}, "written": {size: 3, written: true},
		},
		images: []images.Image{
			stored("docker.io/library/base:1", "base", nil),
			stored("docker.io/library/shop-web:1", "one", made), stored("docker.io/library/shop-web:1.2", "one", made), stored("sha256:aaa", "one", nil),
			stored("docker.io/library/shop-web:2", "two", made), stored("sha256:bbb", "two", nil),
		},
		parts: map[digest.Digest][]string{
			"base": {"blob base", "blob layer", "snapshot layer"},
			"one":  {"blob one", "blob layer", "snapshot layer", "snapshot one"},
			"two":  {"blob two", "blob layer", "snapshot layer", "snapshot two"},
		},
		running: map[string]bool{"sha256:bbb": true},
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	u := shop().account(nil)
	if u.Size != 3331 || u.Reclaimable != 301 || u.Cache != 12 || u.Containers != 3 {
		t.Errorf("size %d, reclaimable %d, cache %d, containers %d", u.Size, u.Reclaimable, u.Cache, u.Containers)
	}
	want := []Disk{
		{Names: []string{"shop-web:1", "shop-web:1.2"}, Refs: []string{"docker.io/library/shop-web:1", "docker.io/library/shop-web:1.2", "sha256:aaa"}, Digest: "one", Size: 330, Own: 300, Built: true, Created: time.Unix(3, 0)},
		{Names: []string{"shop-web:2"}, Refs: []string{"docker.io/library/shop-web:2", "sha256:bbb"}, Digest: "two", Size: 3030, Own: 3000, Kept: true, Built: true, Created: time.Unix(3, 0)},
		{Names: []string{"base:1"}, Refs: []string{"docker.io/library/base:1"}, Digest: "base", Size: 31, Own: 1, Created: time.Unix(4, 0)},
	}
	if diff := cmp.Diff(want, u.Images); diff != "" {
		t.Error(diff)
	}
	u = shop().account([]string{"shop-web:1", "no name"})
	if !u.Images[0].Kept || u.Reclaimable != 1 {
		t.Errorf("what a revision has is not kept: %+v", u)
	}
	pinned := shop()
	pinned.images[0].Labels = map[string]string{pinnedLabel: pinnedValue}
	pinned.images[1].Labels = map[string]string{inputsLabel: "x", pinnedLabel: pinnedValue, keptLabel: "true"}
	if u = pinned.account(nil); !u.Images[2].Kept || u.Images[0].Kept {
		t.Errorf("what the node pins is kept, what we pinned only as long as it is asked for: %+v", u.Images)
	}
}

func TestGoneWith(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ refs, want []string }{
		"the last names":       {[]string{"docker.io/library/shop-web:1", "docker.io/library/shop-web:1.2"}, []string{"docker.io/library/shop-web:1", "docker.io/library/shop-web:1.2", "sha256:aaa"}},
		"one of two names":     {[]string{"docker.io/library/shop-web:1"}, []string{"docker.io/library/shop-web:1"}},
		"a container is there": {[]string{"docker.io/library/shop-web:2"}, []string{"docker.io/library/shop-web:2"}},
		"it is not there":      {[]string{"docker.io/library/never:1"}, nil},
	} {
		if diff := cmp.Diff(c.want, shop().goneWith(c.refs)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
