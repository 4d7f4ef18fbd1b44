package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Usage is what the store takes of the disk, in bytes.
type Usage struct {
	Images      []Disk // oldest first
	Size        int64  // of all images, what they share counted once
	Reclaimable int64  // of Size: what no image that is kept has
	Cache       int64  // of what no image has: the build cache
	Containers  int64  // what containers have written
}

// Disk is an image on disk, with all its names.
type Disk struct {
	Names   []string  // as users write them, sorted
	Refs    []string  // in full, with those that the CRI made for itself
	Digest  string    // of the manifest or index that they name
	Size    int64     // bytes of its layers, compressed and unpacked
	Own     int64     // of Size: what no other image has
	Kept    bool      // a container runs on it, somebody asked for it to be kept, or the node needs it
	Built   bool      // made here, and can be made again
	Loaded  bool      // from an archive, and may not be had again
	Created time.Time // when it came into the store
}

// Usage looks at the whole store. keep are names of images that must stay, as pods have them.
func (s Store) Usage(ctx context.Context, keep []string) (Usage, error) {
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return Usage{}, err
	}
	defer cl.close()
	i, err := cl.inventory(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("image store: %w", err)
	}
	if err := cl.containersOf(ctx, &i); err != nil {
		return Usage{}, fmt.Errorf("image store: %w", err)
	}
	return i.account(keep), nil
}

// inventory is what lies in the store.
type inventory struct {
	blobs     map[string]int64    // bytes by digest
	snapshots map[string]snapshot // by key
	images    []images.Image
	parts     map[digest.Digest][]string // blobs and snapshots of what an image names, each once
	running   map[string]bool            // names of images that containers were made from
}

type snapshot struct {
	size    int64
	written bool // by a container, or one that is being made
}

const (
	blobPart, snapshotPart = "blob ", "snapshot "

	pinnedLabel = "io.cri-containerd.pinned" // the kubelet's garbage collection leaves it alone
	pinnedValue = "pinned"
	keptLabel   = "perch.dev/kept"   // pinned by us, since a revision needs it, or it was loaded
	loadedLabel = "perch.dev/loaded" // from an archive: nothing says where it could be had again
)

// loadedLabels are those of an image that was loaded: the kubelet, too, is to leave it alone.
func loadedLabels() map[string]string {
	return map[string]string{loadedLabel: "true", keptLabel: "true", pinnedLabel: pinnedValue}
}

func (cl *client) inventory(ctx context.Context) (inventory, error) {
	i := inventory{blobs: map[string]int64{}, snapshots: map[string]snapshot{}, parts: map[digest.Digest][]string{}, running: map[string]bool{}}
	err := cl.ContentStore().Walk(ctx, func(info content.Info) error {
		i.blobs[info.Digest.String()] = info.Size
		return nil
	})
	if err != nil {
		return i, err
	}
	snapshotter := cl.SnapshotService(snapshotter)
	err = snapshotter.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		used, err := snapshotter.Usage(ctx, info.Name)
		if errdefs.IsNotFound(err) { // it went meanwhile
			return nil
		}
		i.snapshots[info.Name] = snapshot{size: used.Size, written: info.Kind != snapshots.KindCommitted}
		return err
	})
	if err != nil {
		return i, err
	}
	if i.images, err = cl.ImageService().List(ctx); err != nil {
		return i, err
	}
	for _, img := range i.images {
		if i.parts[img.Target.Digest] != nil {
			continue
		}
		if i.parts[img.Target.Digest], err = cl.partsOf(ctx, img); err != nil {
			return i, err
		}
	}
	return i, nil
}

// containersOf adds what containers were made from.
func (cl *client) containersOf(ctx context.Context, i *inventory) error {
	all, err := cl.ContainerService().List(ctx)
	for _, c := range all {
		i.running[c.Image] = true
	}
	return err
}

// partsOf is what of an image is in the store: of one that was cut off, or that has other platforms, not all is.
func (cl *client) partsOf(ctx context.Context, img images.Image) ([]string, error) {
	store := cl.ContentStore()
	parts := []string{}
	add := func(part string) {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	err := images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		add(blobPart + desc.Digest.String())
		if images.IsConfigType(desc.MediaType) {
			for _, key := range snapshotsOf(ctx, store, desc) {
				add(snapshotPart + key)
			}
		}
		children, err := images.Children(ctx, store, desc)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		return children, err
	}), img.Target)
	return parts, err
}

// snapshotsOf are the keys of the snapshots that an image's layers are unpacked to.
func snapshotsOf(ctx context.Context, store content.Provider, config ocispec.Descriptor) []string {
	blob, err := content.ReadBlob(ctx, store, config)
	if err != nil {
		return nil
	}
	var c ocispec.Image
	if json.Unmarshal(blob, &c) != nil {
		return nil
	}
	var keys []string
	for _, id := range identity.ChainIDs(slices.Clone(c.RootFS.DiffIDs)) {
		keys = append(keys, id.String())
	}
	return keys
}

// account is pure: who has how much of the inventory.
func (i inventory) account(keep []string) Usage {
	all := i.disks(keep)
	holders, kept := map[string]int{}, map[string]bool{}
	for _, d := range all {
		for _, part := range i.parts[digest.Digest(d.Digest)] {
			holders[part]++
			kept[part] = kept[part] || d.Kept
		}
	}
	var u Usage
	for n := range all {
		for _, part := range i.parts[digest.Digest(all[n].Digest)] {
			size := i.size(part)
			all[n].Size += size
			if holders[part] == 1 {
				all[n].Own += size
			}
		}
	}
	for part := range holders {
		u.Size += i.size(part)
		if !kept[part] {
			u.Reclaimable += i.size(part)
		}
	}
	for d, size := range i.blobs {
		if holders[blobPart+d] == 0 {
			u.Cache += size
		}
	}
	for key, s := range i.snapshots {
		switch {
		case holders[snapshotPart+key] > 0:
		case s.written:
			u.Containers += s.size
		default:
			u.Cache += s.size
		}
	}
	slices.SortStableFunc(all, func(a, b Disk) int { return a.Created.Compare(b.Created) })
	u.Images = all
	return u
}

func (i inventory) size(part string) int64 {
	if d, ok := strings.CutPrefix(part, blobPart); ok {
		return i.blobs[d]
	}
	return i.snapshots[strings.TrimPrefix(part, snapshotPart)].size
}

// disks are the images by what they name, sorted by that.
func (i inventory) disks(keep []string) []Disk {
	wanted := fullNames(keep)
	byDigest := map[string]*Disk{}
	for _, img := range i.images {
		d := byDigest[img.Target.Digest.String()]
		if d == nil {
			d = &Disk{Digest: img.Target.Digest.String(), Created: img.CreatedAt}
			byDigest[d.Digest] = d
		}
		d.Refs = append(d.Refs, img.Name)
		if isName(img.Name) {
			d.Names = append(d.Names, familiar(img.Name))
		}
		_, made := img.Labels[inputsLabel]
		d.Built, d.Loaded = d.Built || made, d.Loaded || img.Labels[loadedLabel] != ""
		pinned := img.Labels[pinnedLabel] == pinnedValue && img.Labels[keptLabel] == ""
		d.Kept = d.Kept || pinned || i.running[img.Name] || wanted[img.Name]
		if img.CreatedAt.Before(d.Created) {
			d.Created = img.CreatedAt
		}
	}
	all := make([]Disk, 0, len(byDigest))
	for _, d := range byDigest {
		slices.Sort(d.Names)
		slices.Sort(d.Refs)
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Disk) int { return strings.Compare(a.Digest, b.Digest) })
	return all
}

// isName says whether a user gave an image that name: the CRI makes others, of its digest and of its config's.
func isName(ref string) bool {
	return !strings.HasPrefix(ref, "sha256:") && !strings.Contains(ref, "@")
}

// fullNames are names as the CRI knows them; what is no name is left out.
func fullNames(names []string) map[string]bool {
	full := map[string]bool{}
	for _, name := range names {
		if ref, err := normalize(name); err == nil {
			full[ref] = true
		}
	}
	return full
}

// Keep makes the kubelet leave those images alone that keep names or that were loaded, and lets go of those that it was
// told of before: it knows of pods, but not of revisions that may be returned to.
func (s Store) Keep(ctx context.Context, keep []string) error {
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return err
	}
	defer cl.close()
	all, err := cl.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	wanted := fullNames(keep)
	var errs []error
	for _, img := range all {
		kept := img.Labels[keptLabel] != ""
		if kept == (wanted[img.Name] || img.Labels[loadedLabel] != "") || !kept && img.Labels[pinnedLabel] != "" {
			continue
		}
		labels := map[string]string{keptLabel: "true", pinnedLabel: pinnedValue}
		if kept {
			labels = map[string]string{keptLabel: "", pinnedLabel: ""}
		}
		// Only these labels: the CRI puts its own on the image at the same time.
		_, err := cl.ImageService().Update(ctx, images.Image{Name: img.Name, Labels: labels}, "labels."+keptLabel, "labels."+pinnedLabel)
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("image %s: %w", familiar(img.Name), err))
		}
	}
	return errors.Join(errs...)
}
