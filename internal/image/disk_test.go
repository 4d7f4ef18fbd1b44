package image_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	containerd "github.com/containerd/containerd/v2/client"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
)

// TestDisk sees on a real store that what is said to be used is there, and that what is removed is free afterwards.
func TestDisk(t *testing.T) {
	l := newLab(t)
	big := []imagetest.File{{Name: "big", Text: strings.Repeat("0123456789abcdef", 1<<18)}} // 4 MiB
	if _, err := l.store.Load(t.Context(), bytes.NewReader(imagetest.Archive(t, "big:1", nil, big))); err != nil {
		t.Fatal(err)
	}
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo built > /file\n"})
	made := l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}})})["web"]
	usage := func(keep ...string) (image.Usage, image.Disk) {
		t.Helper()
		u, err := l.store.Usage(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(u.Images, func(d image.Disk) bool { return slices.Contains(d.Names, "big:1") })
		if at < 0 {
			return u, image.Disk{}
		}
		return u, u.Images[at]
	}
	before, disk := usage()
	if disk.Own < 8<<20 || disk.Kept || disk.Built || len(before.Images) != 3 || before.Cache == 0 {
		t.Errorf("big has %d bytes of its own; in all %+v", disk.Own, before)
	}
	if _, disk := usage("big:1"); !disk.Kept {
		t.Error("what is to be kept is not")
	}
	if err := l.store.Keep(t.Context(), []string{"big:1", made.Ref}); err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, l.node); !slices.Equal(got, []string{"docker.io/library/base:1", "docker.io/library/big:1", made.Ref}) {
		t.Errorf("for the kubelet are pinned %v", got)
	}
	if err := l.store.Keep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, l.node); !slices.Equal(got, []string{"docker.io/library/base:1", "docker.io/library/big:1"}) {
		t.Errorf("those that were loaded stay pinned, and no others: %v", got)
	}
	if err := l.store.Remove(t.Context(), disk.Refs); err != nil {
		t.Fatal(err)
	}
	after, gone := usage()
	if gone.Size != 0 || before.Size-after.Size < 8<<20 || after.Cache > before.Cache {
		t.Errorf("before %d and %d, after %d and %d", before.Size, before.Cache, after.Size, after.Cache)
	}
	freed, err := l.store.RemoveCache(t.Context())
	if err != nil || freed == 0 {
		t.Errorf("the build cache had %d bytes, %v", freed, err)
	}
	if end, _ := usage(); end.Cache >= after.Cache {
		t.Errorf("the cache has %d bytes, had %d", end.Cache, after.Cache)
	}
}

// pinned are the names that the CRI tells the kubelet to leave alone, sorted.
func pinned(t *testing.T, n *imagetest.Node) []string {
	t.Helper()
	cl, err := containerd.New(n.Containerd, containerd.WithDefaultNamespace("k8s.io"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cl.Close() }()
	list, err := cl.ImageService().List(t.Context(), `labels."io.cri-containerd.pinned"==pinned`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return names
}
