package up

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node"
)

// lying is a store with five images, of which a pod has one and a revision another, and three volumes.
func lying() System {
	at := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC) }
	usage := image.Usage{Size: 1000, Reclaimable: 450, Cache: 300, Containers: 5, Images: []image.Disk{
		{Names: []string{"golang:1.26"}, Refs: []string{"full/golang:1.26"}, Digest: "a", Size: 300, Own: 300, Created: at(1)},
		{Names: []string{"web:1"}, Refs: []string{"full/web:1", "sha256:1"}, Digest: "b", Size: 150, Own: 50, Built: true, Created: at(2)},
		{Names: []string{"web:2"}, Refs: []string{"full/web:2"}, Digest: "c", Size: 150, Own: 50, Built: true, Kept: true, Created: at(3)},
		{Names: []string{"old:1"}, Refs: []string{"full/old:1"}, Digest: "d", Size: 100, Own: 100, Built: true, Created: at(4)},
		{Names: []string{"postgres:15"}, Refs: []string{"full/postgres:15"}, Digest: "e", Size: 500, Own: 500, Kept: true, Created: at(5)},
	}}
	var used kube.Used
	used.Add("shop", map[string]any{"volumes": []any{map[string]any{"persistentVolumeClaim": map[string]any{"claimName": "data"}}}})
	volumes := []kube.Volume{
		{Namespace: "shop", Claim: "old", Project: "shop", Name: "pvc-2"}, {Namespace: "shop", Claim: "data", Project: "shop", Name: "pvc-1"},
		{Namespace: "x", Claim: "owned", Name: "pvc-3", Owned: true},
	}
	return measured(node.Disk{Budget: 5000, Index: 7, Volumes: map[string]int64{"pvc-1": 40, "pvc-2": 60, "pvc-3": 1}}, usage, volumes, &used)
}

func TestMeasured(t *testing.T) {
	t.Parallel()
	s := lying()
	if s.Images.Total != 5 || s.Images.Active != 2 || s.Budget.Used != 1307 || s.BuildCache != (Kind{307, 300}) {
		t.Errorf("%+v", s)
	}
	v := s.Volumes
	if v.Total != 3 || v.Active != 2 || v.Size != 101 || v.Reclaimable != 60 || v.List[0].Claim != "data" || !v.List[0].Used || v.List[1].Used || !v.List[2].Used {
		t.Errorf("%+v", v)
	}
}

func TestRemoval(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o      PruneOptions
		images []string
		claims []string
		cache  bool
		size   int64
	}{
		"what was built here": {PruneOptions{}, []string{"web:1", "old:1"}, nil, false, 150},
		"all images":          {PruneOptions{All: true}, []string{"golang:1.26", "web:1", "old:1"}, nil, false, 450},
		"volumes":             {PruneOptions{Volumes: true}, []string{"web:1", "old:1"}, []string{"old"}, false, 210},
		"the build cache":     {PruneOptions{BuildCache: true}, []string{"web:1", "old:1"}, nil, true, 450},
	} {
		r := lying().Removal(c.o)
		var images, claims []string
		for _, i := range r.Images {
			images = append(images, i.Names...)
		}
		for _, v := range r.Volumes {
			claims = append(claims, v.Claim)
		}
		if diff := cmp.Diff([]any{c.images, c.claims, c.cache, c.size}, []any{images, claims, r.BuildCache, r.Size}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !(System{}).Removal(PruneOptions{All: true, Volumes: true, BuildCache: true}).Nothing() {
		t.Error("an empty store has something to remove")
	}
}

// Between the question and the answer somebody may have started a pod.
func TestStill(t *testing.T) {
	t.Parallel()
	before := lying()
	chosen := before.Removal(PruneOptions{All: true, Volumes: true})
	now := lying()
	now.Images.List[0].Used = true
	now.Volumes.List[1].Used = true
	left := chosen.still(now)
	if len(left.Images) != 2 || left.Images[0].Names[0] != "web:1" || len(left.Volumes) != 0 {
		t.Errorf("%+v", left)
	}
}

func TestOverBudget(t *testing.T) {
	t.Parallel()
	const mega = 1e6
	usage := image.Usage{Size: 1000 * mega, Cache: 300 * mega}
	for _, i := range lying().Images.List {
		usage.Images = append(usage.Images, image.Disk{Names: i.Names, Own: i.Own * mega, Kept: i.Used, Built: i.Built})
	}
	usage.Images = append(usage.Images,
		image.Disk{Names: []string{"loaded:1"}, Own: 900 * mega, Loaded: true}, image.Disk{Names: []string{"base:1"}, Own: 9000})
	for limit, want := range map[int64][]string{
		1300: nil, // the cache counts with a quarter of it at most
		1260: {"web:1"},
		1150: {"web:1", "old:1"},
		1000: {"web:1", "old:1", "golang:1.26"},
		100:  {"web:1", "old:1", "golang:1.26"}, // what is kept stays, whatever the budget
	} {
		var got []string
		for _, d := range overBudget(usage, limit*mega) {
			got = append(got, d.Names...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
}
