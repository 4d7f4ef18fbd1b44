package up

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/release"
)

// System is what the embedded cluster has on disk. Sizes are in bytes.
type System struct {
	Budget     BudgetDisk  `json:"budget"`
	Images     ImagesDisk  `json:"images"`
	BuildCache Kind        `json:"buildCache"`
	Volumes    VolumesDisk `json:"volumes"`
	Containers Kind        `json:"containers"` // what they have written beside their volumes
	Logs       Kind        `json:"logs"`       // of pods and of the node's parts; each is bounded
	Store      Kind        `json:"store"`      // objects, keys, and what the kubelet keeps of pods
}

// BudgetDisk is how much of the disk images and the build cache may take.
type BudgetDisk struct {
	Limit int64 `json:"limit"`
	Used  int64 `json:"used"`
	Free  int64 `json:"free"` // of the whole disk
}

// Kind is one kind of thing on disk.
type Kind struct {
	Size        int64 `json:"size"`
	Reclaimable int64 `json:"reclaimable"` // what `perch system prune` could free
}

// ImagesDisk is the images in the store.
type ImagesDisk struct {
	Kind
	Total  int         `json:"total"`
	Active int         `json:"active"` // that a pod, an object or a kept revision has
	List   []ImageDisk `json:"list"`   // oldest first
}

// ImageDisk is one of them.
type ImageDisk struct {
	Names   []string  `json:"names"`
	Digest  string    `json:"digest"`
	Size    int64     `json:"size"`
	Own     int64     `json:"own"` // of Size: what no other image has
	Used    bool      `json:"used"`
	Built   bool      `json:"built"`
	Created time.Time `json:"created"`

	refs []string
}

// VolumesDisk is the volumes.
type VolumesDisk struct {
	Kind
	Total  int          `json:"total"`
	Active int          `json:"active"`
	List   []VolumeDisk `json:"list"` // by namespace and claim
}

// VolumeDisk is one of them.
type VolumeDisk struct {
	Project   string `json:"project"`
	Namespace string `json:"namespace"`
	Claim     string `json:"claim"`
	Size      int64  `json:"size"`
	Used      bool   `json:"used"` // by a pod, an object or a kept revision

	volume kube.Volume
}

// name is a volume as users write it.
func (v VolumeDisk) name() string { return v.Namespace + "/" + v.Claim }

// Measure looks at the embedded cluster, which must run.
func Measure(ctx context.Context, o Options) (System, error) {
	disk, err := o.Node.Disk(ctx)
	if err != nil {
		return System{}, needsNode(ctx, o, err)
	}
	if err := o.needRunning(ctx); err != nil {
		return System{}, err
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return System{}, err
	}
	used, err := used(ctx, client)
	if err != nil {
		return System{}, err
	}
	volumes, err := client.Volumes(ctx)
	if err != nil {
		return System{}, err
	}
	images, err := store(o).Usage(ctx, used.Images())
	if err != nil {
		return System{}, err
	}
	return measured(disk, images, volumes, used), nil
}

// needsNode prefers to say that there is no cluster.
func needsNode(ctx context.Context, o Options, err error) error {
	if absent := o.needRunning(ctx); absent != nil {
		return absent
	}
	return err
}

// used is what pods, objects and kept revisions have.
func used(ctx context.Context, client *kube.Client) (*kube.Used, error) {
	u := new(kube.Used)
	if err := client.AddLive(ctx, u); err != nil {
		return nil, err
	}
	return u, release.AddKept(ctx, client, u)
}

// measured puts together what was seen. It is pure.
func measured(disk node.Disk, images image.Usage, volumes []kube.Volume, used *kube.Used) System {
	s := System{
		BuildCache: Kind{images.Cache + disk.Index, images.Cache}, Containers: Kind{Size: images.Containers},
		Logs: Kind{Size: disk.Logs}, Store: Kind{Size: disk.Store},
		Images: ImagesDisk{Kind: Kind{images.Size, images.Reclaimable}, Total: len(images.Images), List: []ImageDisk{}},
	}
	s.Budget = BudgetDisk{Limit: disk.Budget, Used: s.Images.Size + s.BuildCache.Size, Free: disk.Free}
	for _, i := range images.Images {
		if i.Kept {
			s.Images.Active++
		}
		s.Images.List = append(s.Images.List, ImageDisk{append([]string{}, i.Names...), i.Digest, i.Size, i.Own, i.Kept, i.Built, i.Created, i.Refs})
	}
	s.Volumes.List = []VolumeDisk{}
	for _, v := range volumes {
		one := VolumeDisk{v.Project, v.Namespace, v.Claim, disk.Volumes[v.Name], v.Owned || used.Claim(v.Namespace, v.Claim), v}
		s.Volumes.Total, s.Volumes.Size = s.Volumes.Total+1, s.Volumes.Size+one.Size
		if one.Used {
			s.Volumes.Active++
		} else {
			s.Volumes.Reclaimable += one.Size
		}
		s.Volumes.List = append(s.Volumes.List, one)
	}
	slices.SortFunc(s.Volumes.List, func(a, b VolumeDisk) int { return strings.Compare(a.name(), b.name()) })
	return s
}
