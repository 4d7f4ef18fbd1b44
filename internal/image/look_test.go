package image_test

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
	"github.com/perch-k8s/perch/internal/progress"
)

// layered is an image whose files are where only all layers together tell, with links that would lead out of it.
func layered(t *testing.T, name string) []byte {
	t.Helper()
	config := map[string]any{
		"User":    "app",
		"Volumes": map[string]any{"/var/lib/db": struct{}{}},
		"Healthcheck": map[string]any{
			"Test": []string{"CMD-SHELL", "true"}, "Interval": 5 * time.Second, "StartPeriod": time.Minute, "Retries": 4,
		},
	}
	return imagetest.Archive(t, name, config,
		[]imagetest.File{
			{Name: "bin/"}, {Name: "bin/busybox", Text: "x", Mode: 0o755}, {Name: "bin/sh", Link: "busybox"}, {Name: "bin/cp", Hard: "bin/busybox", Mode: 0o755},
			{Name: "etc/"}, {Name: "etc/passwd", Text: "root:x:0:0::/root:/bin/sh\n"}, {Name: "etc/group", Text: "root:x:0:\n"},
			{Name: "var/lib/db/", UID: 999, GID: 998, Mode: 0o1750}, {Name: "var/lib/db/seed", Text: "1"},
			{Name: "cleared/"}, {Name: "cleared/a", Text: "1"}, {Name: "hidden/"}, {Name: "hidden/a/b", Text: "1"},
			{Name: "gone/a", Text: "1"}, {Name: "file", Text: "1"}, {Name: "turned", Text: "1"}, {Name: "under/a", Text: "1"},
		},
		[]imagetest.File{
			{Name: "etc/passwd", Link: "/lib/users/passwd"}, {Name: "etc/group", Link: "../../../lib/users/group"}, {Name: "lib/users/"},
			{Name: "lib/users/passwd", Text: "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"},
			{Name: "lib/users/group", Text: "root:x:0:\napp:x:1001:\nstaff:x:50:app\nother:x:60:\n"},
			{Name: "cleared/.wh.a"}, {Name: "hidden/.wh..wh..opq"}, {Name: ".wh.gone"},
			{Name: "data", Link: "/var/lib/db"}, {Name: "loop", Link: "loop"}, {Name: "out", Link: "/../../../../../../etc"}, {Name: "void", Link: "/nowhere"},
			{Name: "turned/", UID: 3}, {Name: "under", Text: "a file now"},
		},
		[]imagetest.File{{Name: "empty/", UID: 5, GID: 6, Mode: 0o700}, {Name: "var/lib/db/", UID: 7, GID: 8, Mode: 0o700}},
	)
}

// volumes is a service of the image with a volume at each target.
func volumes(ref string, targets ...string) types.ServiceConfig {
	s := types.ServiceConfig{Name: "web"}
	s.Image = ref
	for _, target := range targets {
		s.Volumes = append(s.Volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Target: target})
	}
	return s
}

func projectOf(services ...types.ServiceConfig) *types.Project {
	p := &types.Project{Name: "shop", Services: types.Services{}, Environment: types.Mapping{}}
	for _, s := range services {
		p.Services[s.Name] = s
	}
	return p
}

var layeredContent = map[string]image.Content{
	"/var/lib/db":  {Exists: true, Filled: true, UID: 7, GID: 8, Mode: 0o700},
	"/data/":       {Exists: true, Filled: true, UID: 7, GID: 8, Mode: 0o700},
	"/cleared":     {Exists: true, Mode: 0o755},
	"/hidden":      {Exists: true, Mode: 0o755},
	"/gone":        {},
	"/none/a":      {},
	"/file":        {Exists: true, Filled: true, Mode: 0o644},
	"/file/a":      {},
	"/loop":        {},
	"/void":        {},
	"/turned":      {Exists: true, UID: 3, Mode: 0o755},
	"/under":       {Exists: true, Filled: true, Mode: 0o644},
	"/under/a":     {},
	"/empty":       {Exists: true, UID: 5, GID: 6, Mode: 0o700},
	"/out":         {Exists: true, Filled: true, Mode: 0o755},
	"/out/../data": {Exists: true, Filled: true, UID: 7, GID: 8, Mode: 0o700},
}

// cleaned is content under the paths that Resolve uses.
func cleaned(content map[string]image.Content) (targets []string, out map[string]image.Content) {
	out = map[string]image.Content{}
	for target, c := range content {
		targets = append(targets, target)
		target = strings.TrimSuffix(strings.ReplaceAll(target, "/out/../data", "/data"), "/")
		out[target] = c
	}
	return targets, out
}

func seconds(n int) *types.Duration {
	d := types.Duration(time.Duration(n) * time.Second)
	return &d
}

func TestLookIntoImages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.store.Load(t.Context(), bytes.NewReader(layered(t, "layered:1"))); err != nil {
		t.Fatal(err)
	}
	targets, want := cleaned(layeredContent)
	web := volumes("layered:1", targets...)
	web.PreStart = []types.PreStartHook{{ContainerSpec: types.ContainerSpec{Image: "base:1"}}, {ContainerSpec: volumes("layered:1", "/empty").ContainerSpec}}
	job := types.JobConfig{Name: "seed", ContainerSpec: volumes("layered:1", "/cleared", "/nothing").ContainerSpec}
	job.ReadOnly = true
	p := projectOf(web)
	p.Jobs = types.Jobs{"seed": job}
	start := time.Now()
	images := l.resolve(image.Options{Project: p})
	t.Logf("looked into images in %v", time.Since(start))
	got := images["web"]
	if diff := cmp.Diff(want, got.Content); diff != "" || !got.Shell {
		t.Errorf("shell %v, content:\n%s", got.Shell, diff)
	}
	four := uint64(4)
	health := &types.HealthCheckConfig{Test: types.HealthCheckTest{"CMD-SHELL", "true"}, Interval: seconds(5), StartPeriod: seconds(60), Retries: &four}
	if diff := cmp.Diff(health, got.Health); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(image.User{UID: id(1000), GID: id(1001)}, got.User); diff != "" {
		t.Error(diff)
	}
	if hook := images["web/pre_start/0"]; hook.Content != nil || hook.Health != nil || *hook.User.UID != 0 {
		t.Errorf("a hook of another image: %+v", hook)
	}
	if hook := images["web/pre_start/1"]; !hook.Shell || len(hook.Content) != 1 { // an empty folder that is somebody's is to be given to them
		t.Errorf("a hook: %+v", hook)
	}
	// Nothing is filled but what the image declares as VOLUME, which counts in a container that is read-only.
	if job := images["job/seed"]; !job.Shell || len(job.Content) != 3 || !job.Content["/var/lib/db"].Filled {
		t.Errorf("a job: %+v", job)
	}
	if left := l.node.Views(t); len(left) > 0 {
		t.Errorf("views left in the store: %v", left)
	}
}

func id(n int64) *int64 { return &n }

func TestUsers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.store.Load(t.Context(), bytes.NewReader(layered(t, "layered:1"))); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		user   string
		groups []string
		image  string
		want   image.User
		fault  string
	}{
		"the image's":            {want: image.User{UID: id(1000), GID: id(1001)}},
		"none":                   {image: "base:1", want: image.User{UID: id(0)}},
		"a number":               {user: "1000", want: image.User{UID: id(1000)}},
		"numbers":                {user: "5:6", want: image.User{UID: id(5), GID: id(6)}},
		"numbers need no image":  {user: "5:6", image: "base:1", groups: []string{"7"}, want: image.User{UID: id(5), GID: id(6), Groups: []int64{7}}},
		"a name":                 {user: "root", want: image.User{UID: id(0), GID: id(0)}},
		"a name and a group":     {user: "app:staff", want: image.User{UID: id(1000), GID: id(50)}},
		"a name and a number":    {user: "app:9", want: image.User{UID: id(1000), GID: id(9)}},
		"a number and a group":   {user: "9:other", want: image.User{UID: id(9), GID: id(60)}},
		"groups by name":         {user: "1000", groups: []string{"other", "70", "staff"}, want: image.User{UID: id(1000), GID: id(1001), Groups: []int64{60, 70, 50}}},
		"no such user":           {user: "nobody", fault: `service "web": user "nobody" is not in the image "layered:1"`},
		"no such group":          {user: "app:none", fault: `service "web": user "app:none" is not in the image "layered:1"`},
		"no such group to add":   {groups: []string{"none"}, fault: `service "web": group_add: group "none" is not in the image "layered:1"`},
		"an image without users": {user: "app", image: "base:1", fault: `service "web": user "app" is not in the image "base:1"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			web := volumes("layered:1")
			web.User, web.GroupAdd = tt.user, tt.groups
			if tt.image != "" {
				web.Image = tt.image
			}
			out, err := image.Resolve(t.Context(), image.Options{Project: projectOf(web)}, l.store, progress.Discard)
			if tt.fault != "" {
				if err == nil || err.Error() != tt.fault || fault.KindOf(err) != fault.ComposeFile || fault.HintOf(err) == "" {
					t.Errorf("got %v, want %s", err, tt.fault)
				}
				return
			}
			if diff := cmp.Diff(tt.want, out["web"].User); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// serve is a registry that has the image as shop/layered:1; it is the full name of that.
func serve(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	full := strings.TrimPrefix(srv.URL, "http://") + "/shop/layered:1"
	archive := layered(t, full)
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return full
}

func TestDryRunAsksRegistries(t *testing.T) {
	t.Parallel()
	ref := serve(t)
	host, _, _ := strings.Cut(ref, "/")
	targets, want := cleaned(layeredContent)
	p := projectOf(volumes(ref, targets...))
	dry := image.Options{Project: p, DryRun: true}
	out, err := image.Resolve(t.Context(), dry, image.Store{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := out["web"]
	if got.Unknown != "" || !got.Built || got.Config.User != "app" || got.Health == nil || !got.Shell {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(want, got.Content); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(image.User{UID: id(1000), GID: id(1001)}, got.User); diff != "" {
		t.Error(diff)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, want := range map[string]string{
		silent.Addr().String() + "/db:1": "it is not in the node's store, and " + silent.Addr().String() + " did not answer in time",
		host + "/shop/other:1":           "it is not in the node's store, and " + host + " does not have it",
		"127.0.0.1:1/shop/db:1":          "it is not in the node's store, and 127.0.0.1:1 cannot be reached",
	} {
		dry.Project = projectOf(volumes(name, "/data"))
		out, err := image.Resolve(t.Context(), dry, image.Store{}, progress.Discard)
		if err != nil || out["web"].Unknown != want || out["web"].Content != nil {
			t.Errorf("%s: %v, %+v", name, err, out["web"])
		}
	}
}

func TestDryRunWithoutTheSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	service := func(name string, b types.BuildConfig) types.ServiceConfig {
		s := types.ServiceConfig{Name: name}
		s.Build = &b
		return s
	}
	p := projectOf(
		service("a", types.BuildConfig{Context: dir + "/none"}),
		service("b", types.BuildConfig{Context: dir}),
		service("c", types.BuildConfig{Context: dir, DockerfileInline: "FROM a", AdditionalContexts: types.Mapping{"lib": dir + "/lib"}}),
		service("d", types.BuildConfig{Context: dir, DockerfileInline: "FROM x", AdditionalContexts: types.Mapping{"x": "service:a"}}),
	)
	p.WorkingDir = dir
	out, err := image.Resolve(t.Context(), image.Options{Project: p, DryRun: true}, image.Store{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][2]string{}
	for key, i := range out {
		got[key] = [2]string{i.Ref, i.Unknown}
	}
	want := map[string][2]string{
		"a": {"docker.io/library/shop-a:not-built", "it is not built yet: the build context none is not a folder"},
		"b": {"docker.io/library/shop-b:not-built", "it is not built yet: no Dockerfile at Dockerfile"},
		"c": {"docker.io/library/shop-c:not-built", `it is not built yet: additional context "lib": lib is not a folder`},
		"d": {out["d"].Ref, "it is not built yet"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = image.Resolve(t.Context(), image.Options{Project: p}, image.Store{}, progress.Discard)
	if fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "is not a folder") || fault.HintOf(err) == "" {
		t.Errorf("a real build: %v", err)
	}
}
