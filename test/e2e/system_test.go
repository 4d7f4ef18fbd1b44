package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// disk is what `perch system df -o json` says, as far as these tests read it.
type disk struct {
	Budget struct{ Limit, Used int64 }
	Images struct {
		Total, Active     int
		Size, Reclaimable int64
		List              []struct {
			Names []string
			Used  bool
		}
	}
	BuildCache struct{ Size, Reclaimable int64 }
	Volumes    struct {
		Total, Active     int
		Size, Reclaimable int64
		List              []struct {
			Project, Namespace, Claim string
			Size                      int64
			Used                      bool
		}
	}
	Logs, Store struct{ Size int64 }
}

func (u *user) df(t *testing.T) disk {
	t.Helper()
	r := u.perch(t, "", "system", "df", "-o", "json")
	var d disk
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return d
}

// images are the names of the images with that beginning, and whether each is used.
func (d disk) images(prefix string) map[string]bool {
	found := map[string]bool{}
	for _, i := range d.Images.List {
		for _, name := range i.Names {
			if strings.HasPrefix(name, prefix) {
				found[name] = i.Used
			}
		}
	}
	return found
}

// shopFiles is an app with a built image and a volume with 8 MB in it.
func shopFiles(version string) map[string]string {
	return map[string]string{
		"compose.yaml": `services:
  web:
    build: .
    command: sh -c "head -c 8000000 /dev/urandom > /data/file; trap 'exit 0' TERM; while :; do sleep 1; done"
    volumes: ["data:/data"]
    stop_grace_period: 1s
volumes: {data: {}}
`,
		"Dockerfile": "FROM busybox:1.36\nCOPY version /version\n",
		"version":    version,
	}
}

// TestSystem fills a cluster's disk and looks what is told of it, what is removed, and what never is.
func TestSystem(t *testing.T) {
	u := newUser(t, "y")
	u.want(t, 15, command{args: []string{"system", "df"}})
	u.perch(t, "", "cluster", "start", "--disk-budget", "500MB")
	u.load(t, "busybox:1.36", "redis:7")
	p := u.project(t, "shop", shopFiles("1"))
	p.up(t)
	first := u.df(t).images("shop-web")
	if len(first) != 1 {
		t.Fatalf("the images are %v", first)
	}
	p.write(t, "version", "2")
	p.up(t)
	t.Run("df tells it", func(t *testing.T) { testDf(t, u) })
	t.Run("prune leaves what a kept revision has", func(t *testing.T) {
		r := u.perch(t, "", "system", "prune", "--yes")
		wantText(t, r.stdout, "nothing to remove")
		if now := u.df(t).images("shop-web"); len(now) != 2 {
			t.Errorf("the images are %v", now)
		}
		p.run(t, "rollback", "--yes")
		if got := strings.TrimSpace(p.run(t, "exec", "web", "cat", "/version").stdout); got != "1" {
			t.Errorf("the version that is brought back is %q", got)
		}
	})
	t.Run("prune asks, and takes only what nothing uses", func(t *testing.T) {
		p.write(t, "version", "3")
		p.run(t, "build") // and not deployed
		before := u.df(t)
		if len(before.images("shop-web")) != 3 || before.Images.Reclaimable == 0 {
			t.Fatalf("%+v", before)
		}
		r := u.want(t, 2, command{args: []string{"system", "prune"}})
		wantText(t, r.stderr, "image   shop-web:", "remove 1 image", "hint: add --yes")
		wantText(t, u.perch(t, "", "system", "prune", "--dry-run").stdout, "would remove 1 image")
		u.perch(t, "", "system", "prune", "--yes")
		after := u.df(t)
		if len(after.images("shop-web")) != 2 || len(after.images("redis")) == 0 {
			t.Errorf("after: %+v", after.Images.List)
		}
		u.perch(t, "", "system", "prune", "--all", "--yes")
		if after = u.df(t); len(after.images("redis")) != 0 || len(after.images("shop-web")) != 2 {
			t.Errorf("after --all: %+v", after.Images.List)
		}
		u.load(t, "busybox:1.36") // it was unused too
	})
	t.Run("the build cache is emptied when it is asked for", func(t *testing.T) {
		r := u.perch(t, "", "system", "prune", "--build-cache", "--yes", "-o", "json")
		var done struct {
			BuildCache bool
			Freed      int64
		}
		if err := json.Unmarshal([]byte(r.stdout), &done); err != nil || !done.BuildCache {
			t.Errorf("%v: %s", err, r)
		}
		if left := u.df(t).BuildCache.Reclaimable; left > 1e6 {
			t.Errorf("left are %d bytes", left)
		}
	})
	t.Run("over the budget the oldest builds go", func(t *testing.T) { testBudget(t, u, p) })
	t.Run("volumes go only when that is asked for", func(t *testing.T) { testPruneVolumes(t, u, p) })
	t.Run("logs are bounded", func(t *testing.T) { testLogsBounded(t, u) })
	t.Run("the build cache comes back to its quarter", func(t *testing.T) { // of 300 MB, by BuildKit's own count
		eventually(t, 3*time.Minute, "the builder has ended", func(context.Context) error {
			if d := u.df(t); d.BuildCache.Size > 200e6 {
				return fmt.Errorf("it has %d bytes", d.BuildCache.Size)
			}
			return nil
		})
	})
}

func testDf(t *testing.T, u *user) {
	d := u.df(t)
	if d.Budget.Limit != 500e6 || d.Budget.Used < d.Images.Size || d.Images.Size == 0 || d.Logs.Size == 0 || d.Store.Size == 0 {
		t.Errorf("%+v", d)
	}
	for name, used := range d.images("shop-web") {
		if !used {
			t.Errorf("%s is used, by a pod or a kept revision", name)
		}
	}
	if used := d.images("redis")["redis:7"]; used {
		t.Error("nothing uses redis")
	}
	if len(d.Volumes.List) != 1 {
		t.Fatalf("volumes %+v", d.Volumes)
	}
	if v := d.Volumes.List[0]; v.Project != "shop" || v.Claim != "data" || v.Size < 8e6 || !v.Used || d.Volumes.Reclaimable != 0 {
		t.Errorf("%+v", v)
	}
	wantText(t, u.perch(t, "", "system", "df", "--verbose").stdout, "Images", "Build cache", "Volumes", "Logs", "disk budget", "redis:7", "shop/data")
}

// testBudget builds images of some 120 MB each until there are more than the budget has room for.
func testBudget(t *testing.T, u *user, p project) {
	p.write(t, "Dockerfile", "FROM busybox:1.36\nCOPY version /version\nRUN head -c 60000000 /dev/urandom > /big\n")
	var built []string
	for n := range 5 {
		p.write(t, "version", fmt.Sprintf("big %d", n))
		p.run(t, "build")
		for name := range u.df(t).images("shop-web") {
			if !slices.Contains(built, name) {
				built = append(built, name)
			}
		}
	}
	before := u.df(t)
	if before.Images.Size < 500e6 {
		t.Fatalf("the images are too small for this test: %+v", before.Images)
	}
	p.write(t, "compose.yaml", strings.Replace(shopFiles("")["compose.yaml"], "stop_grace_period: 1s", "stop_grace_period: 1s\n    environment: {A: b}", 1))
	r := p.up(t)
	wantText(t, r.stderr, "over the disk budget: removed")
	after := u.df(t)
	now := after.images("shop-web")
	if after.Images.Size >= 500e6 || len(after.images("busybox")) == 0 {
		t.Errorf("after: %+v", after.Images)
	}
	for name, used := range before.images("shop-web") {
		if _, there := now[name]; used && !there {
			t.Errorf("%s was used and is gone", name)
		}
	}
	newest := built[len(built)-1]
	if _, there := now[newest]; !there {
		t.Errorf("the newest build, %s, is gone: %v", newest, now)
	}
	if got := strings.TrimSpace(p.run(t, "exec", "web", "cat", "/version").stdout); got != "big 4" {
		t.Errorf("the version is %q", got)
	}
}

func testPruneVolumes(t *testing.T, u *user, p project) {
	u.perch(t, "", "system", "prune", "--volumes", "--yes")
	if d := u.df(t); d.Volumes.Total != 1 {
		t.Fatalf("a volume that a pod has is gone: %+v", d.Volumes)
	}
	p.run(t, "down")
	u.perch(t, "", "system", "prune", "--all", "--yes")
	if d := u.df(t); d.Volumes.Total != 1 || d.Volumes.Reclaimable < 8e6 || d.Volumes.Active != 0 {
		t.Errorf("after down: %+v", d.Volumes)
	}
	r := u.want(t, 2, command{args: []string{"system", "prune", "--volumes"}})
	wantText(t, r.stderr, "volume  shop/data with its data", "hint: add --yes")
	u.perch(t, "", "system", "prune", "--volumes", "--yes")
	if d := u.df(t); d.Volumes.Total != 0 {
		t.Errorf("after the prune: %+v", d.Volumes)
	}
	if left, _ := filepath.Glob(filepath.Join(u.folder(), "volumes", "*")); len(left) > 0 {
		t.Errorf("the data is still there: %v", left)
	}
}

// testLogsBounded lets a container print 60 MB, and looks at every file in the folder that is a log.
func testLogsBounded(t *testing.T, u *user) {
	u.load(t, "busybox:1.36")
	u.perch(t, "", "kubectl", "run", "talks", "--image=busybox:1.36", "--command", "--", "sh", "-c", "yes 0123456789abcdef | head -c 60000000; trap 'exit 0' TERM; while :; do sleep 1; done")
	eventually(t, 90*time.Second, "the pod's log is rotated", func(context.Context) error {
		files, _ := filepath.Glob(filepath.Join(u.folder(), "kubernetes", "pod-logs", "*talks*", "*", "*"))
		if len(files) < 2 {
			return fmt.Errorf("files %v", files)
		}
		return nil
	})
	const bound = 11 << 20
	_ = filepath.WalkDir(u.folder(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".log" {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Size() > bound {
			t.Errorf("%s has %d bytes", path, info.Size())
		}
		return nil
	})
}
