package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/progress"
)

// PruneOptions say what may go: without any of them, images that were built here and that nothing uses.
type PruneOptions struct {
	All        bool // images that were pulled or loaded too
	Volumes    bool // with their data
	BuildCache bool
}

// Removal is what a prune would remove.
type Removal struct {
	Images     []ImageDisk  `json:"images"`
	Volumes    []VolumeDisk `json:"volumes"`
	BuildCache bool         `json:"buildCache"`
	Size       int64        `json:"size"` // bytes that are free then; some more or less, by what is shared
}

// Nothing tells that there is nothing to remove.
func (r Removal) Nothing() bool { return len(r.Images)+len(r.Volumes) == 0 && !r.BuildCache }

// Removal chooses what goes. It is pure. What a pod, an object or a kept revision has never goes.
func (s System) Removal(o PruneOptions) Removal {
	r := Removal{Images: []ImageDisk{}, Volumes: []VolumeDisk{}, BuildCache: o.BuildCache && s.BuildCache.Reclaimable > 0}
	for _, i := range s.Images.List {
		if !i.Used && (o.All || i.Built) {
			r.Images = append(r.Images, i)
			r.Size += i.Own
		}
	}
	if o.All && len(r.Images) > 0 {
		r.Size = s.Images.Reclaimable // with what only these share
	}
	for _, v := range s.Volumes.List {
		if !v.Used && o.Volumes {
			r.Volumes = append(r.Volumes, v)
			r.Size += v.Size
		}
	}
	if r.BuildCache {
		r.Size += s.BuildCache.Reclaimable
	}
	return r
}

// Prune removes what was chosen, but for what somebody began to use meanwhile, and returns how many bytes are free by it.
func Prune(ctx context.Context, o Options, chosen Removal, r progress.Reporter) (int64, error) {
	before, err := Measure(ctx, o)
	if err != nil {
		return 0, err
	}
	chosen = chosen.still(before)
	client, err := kube.Load(o.Kube)
	if err != nil {
		return 0, err
	}
	var errs []error
	step := func(id string, size int64, do func() error) {
		r.Report(progress.Event{ID: id, Status: progress.Working, Text: "removing"})
		if err := do(); err != nil {
			r.Report(progress.Event{ID: id, Status: progress.Failed, Text: err.Error()})
			errs = append(errs, err)
			return
		}
		r.Report(progress.Event{ID: id, Status: progress.Done, Text: "removed, " + bytesText(size)})
	}
	for _, v := range chosen.Volumes {
		step("volume "+v.name(), v.Size, func() error { return client.RemoveVolume(ctx, v.volume) })
	}
	if len(chosen.Images) > 0 {
		var refs []string
		var size int64
		for _, i := range chosen.Images {
			refs, size = append(refs, i.refs...), size+i.Own
		}
		step(fmt.Sprintf("images (%d)", len(chosen.Images)), size, func() error { return store(o).Remove(ctx, refs) })
	}
	if chosen.BuildCache {
		step("build cache", before.BuildCache.Reclaimable, func() error {
			_, err := store(o).RemoveCache(ctx)
			return err
		})
	}
	after, err := Measure(ctx, o)
	return before.total() - after.total(), errors.Join(append(errs, err)...)
}

func (s System) total() int64 { return s.Images.Size + s.BuildCache.Size + s.Volumes.Size }

// still is the removal without what is used now, or gone.
func (r Removal) still(now System) Removal {
	free := Removal{BuildCache: r.BuildCache}
	for _, i := range now.Images.List {
		if !i.Used && slices.ContainsFunc(r.Images, func(o ImageDisk) bool { return o.Digest == i.Digest }) {
			free.Images = append(free.Images, i)
		}
	}
	for _, v := range now.Volumes.List {
		if !v.Used && slices.ContainsFunc(r.Volumes, func(o VolumeDisk) bool { return o.volume == v.volume }) {
			free.Volumes = append(free.Volumes, v)
		}
	}
	return free
}

// keepBudget holds images within the disk budget: those go that no pod, no object and no kept revision has. The kubelet is
// told which ones those are, since it removes images by itself when the disk is nearly full. Nothing of it fails a deploy.
func keepBudget(ctx context.Context, o Options, client *kube.Client, r progress.Reporter) {
	if !o.Compose.Embedded {
		return
	}
	removed, size, err := collect(ctx, o, client)
	switch {
	case err != nil && ctx.Err() == nil:
		r.Report(progress.Event{ID: "images", Status: progress.Warned, Text: "the disk budget was not looked at: " + err.Error()})
	case removed > 0:
		text := fmt.Sprintf("over the disk budget: removed %d that nothing uses, %s", removed, bytesText(size))
		r.Report(progress.Event{ID: "images", Status: progress.Done, Text: text})
	}
}

func collect(ctx context.Context, o Options, client *kube.Client) (removed int, size int64, err error) {
	limit, err := o.Node.Budget()
	if err != nil {
		return 0, 0, err
	}
	used, err := used(ctx, client)
	if err != nil {
		return 0, 0, err
	}
	names := used.Images()
	if err := store(o).Keep(ctx, names); err != nil {
		return 0, 0, err
	}
	usage, err := store(o).Usage(ctx, names)
	if err != nil {
		return 0, 0, err
	}
	gone := overBudget(usage, limit)
	var refs []string
	for _, i := range gone {
		refs, size = append(refs, i.Refs...), size+i.Own
	}
	if len(refs) > 0 {
		err = store(o).Remove(ctx, refs)
	}
	return len(gone), size, err
}

// overBudget is the images that must go, so that images and the build cache are within the limit: those that were built
// here first, since they can be made again, and of each sort the oldest first. It is pure. The build cache counts with its
// own share at most: the builder brings it back to that by itself. What was loaded from an archive stays, since nobody could
// fetch it again; and what frees nothing, as the base of another image.
func overBudget(u image.Usage, limit int64) []image.Disk {
	over := u.Size + min(u.Cache, node.CacheShare(limit)) - limit
	unused := slices.DeleteFunc(slices.Clone(u.Images), func(d image.Disk) bool { return d.Kept || d.Loaded || d.Own < worthIt })
	slices.SortStableFunc(unused, func(a, b image.Disk) int { // they come oldest first
		return cmp.Compare(btoi(b.Built), btoi(a.Built))
	})
	var gone []image.Disk
	for _, d := range unused {
		if over <= 0 {
			break
		}
		gone, over = append(gone, d), over-d.Own
	}
	return gone
}

const worthIt = 1e6 // bytes

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// bytesText is a size for people, in decimal units.
func bytesText(n int64) string {
	const mega = 1e6
	return fmt.Sprintf("%.1f MB", float64(n)/mega)
}
