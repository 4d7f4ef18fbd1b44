package image_test

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
	"github.com/perch-k8s/perch/internal/progress"
)

// harbour is a node and a registry.
type harbour struct {
	*lab
	r *dock
}

func newHarbour(t *testing.T) *harbour {
	t.Helper()
	l := newLab(t)
	return &harbour{l, newDock(t)}
}

func (h *harbour) options(builds map[string]types.BuildConfig) image.Options {
	return image.Options{Project: h.project(builds), Registry: h.r.o.Registry, Certificates: h.r.o.Certificates}
}

func TestPushOfDockerfiles(t *testing.T) {
	h := newHarbour(t)
	h.write(map[string]string{"Dockerfile": "FROM base:1 AS one\nRUN echo 1 > /one\nFROM base:1\nCOPY --from=one /one /\nCOPY a.txt /\nUSER 7:8\n", "a.txt": "hello\n"})
	o := h.options(map[string]types.BuildConfig{"web": {}})
	first := h.resolve(o)["web"]
	if !first.Built || !strings.HasPrefix(first.Ref, h.r.Host+"/acme/shop-web:") || first.Config.User != "7:8" || *first.User.UID != 7 {
		t.Errorf("first: %+v", first)
	}
	if !strings.HasPrefix(first.Base, "docker.io/library/base:1@sha256:") {
		t.Errorf("base: %q", first.Base)
	}
	img, err := h.r.get(first.Ref).Image()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	name, digest, _ := strings.Cut(first.Base, "@")
	if got := manifest.Annotations; got[ocispec.AnnotationBaseImageName] != name || got[ocispec.AnnotationBaseImageDigest] != digest || got["perch.dev/inputs"] == "" {
		t.Errorf("annotations: %v", got)
	}
	for _, l := range manifest.Layers[1:] { // the first is the base's, as it was loaded
		if !strings.HasSuffix(string(l.MediaType), "+gzip") {
			t.Errorf("layer of type %s", l.MediaType)
		}
	}
	h.r.Requests()
	again := h.resolve(o)["web"]
	first.Built = false
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("nothing changed:\n%s", diff)
	}
	elsewhere, err := image.Resolve(t.Context(), o, image.Store{}, progress.Discard) // a machine with no node at all
	if err != nil || elsewhere["web"].Ref != first.Ref || !cmp.Equal(elsewhere["web"].Config, first.Config) {
		t.Errorf("elsewhere: %v, %+v", err, elsewhere["web"])
	}
	if r := h.r.Requests(); sent(r, http.MethodPost) > 0 {
		t.Errorf("sent: %v", r)
	}

	// Another image with the same layers, in another repository: they are not sent.
	shop := types.ServiceConfig{Name: "shop"}
	shop.Build = &types.BuildConfig{Context: h.dir, Labels: types.Labels{"a": "b"}}
	o.Project.Services["shop"] = shop
	h.r.Requests()
	h.resolve(o)
	if r := h.r.Requests(); sent(r, http.MethodPatch) != 1 { // the config
		t.Errorf("layers were sent again: %v", r)
	}
	h.write(map[string]string{"a.txt": "bye\n"})
	if got := h.resolve(o)["web"]; !got.Built || got.Ref == first.Ref {
		t.Errorf("changed: %+v", got)
	}
}

// What a container of a registry's image has at its volumes is read from the layers on their way.
func TestContentOfWhatIsPushed(t *testing.T) {
	h := newHarbour(t)
	if _, err := h.store.Load(t.Context(), bytes.NewReader(layered(t, "layered:1"))); err != nil {
		t.Fatal(err)
	}
	h.write(map[string]string{"Dockerfile": "FROM layered:1\nUSER app\n"})
	o := h.options(map[string]types.BuildConfig{"web": {}})
	targets, want := cleaned(layeredContent)
	web := o.Project.Services["web"]
	web.Volumes = volumes("", targets...).Volumes
	o.Project.Services["web"] = web
	for _, when := range []string{"pushed", "there"} {
		got := h.resolve(o)["web"]
		if diff := cmp.Diff(want, got.Content); diff != "" || !got.Shell {
			t.Errorf("%s: shell %v\n%s", when, got.Shell, diff)
		}
		if diff := cmp.Diff(image.User{UID: id(1000), GID: id(1001)}, got.User); diff != "" {
			t.Errorf("%s:\n%s", when, diff)
		}
	}
}

func TestPlatformsOfDockerfiles(t *testing.T) {
	h := newHarbour(t)
	h.write(map[string]string{"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n", "amd64": "amd64", "arm64": "arm64"})
	o := h.options(map[string]types.BuildConfig{"web": {Platforms: types.StringList{"linux/amd64", "linux/arm64"}}})
	got := h.resolve(o)["web"]
	index, err := h.r.get(got.Ref).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]ggcr.Hash{}
	for _, m := range manifest.Manifests {
		found[m.Platform.String()] = m.Digest
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Fatal(diff)
	}
	if again := h.resolve(o)["web"]; again.Built || again.Ref != got.Ref {
		t.Errorf("again: %+v", again)
	}
	o.Registry.Platforms = []string{"linux/arm64"} // counts more than the file; and what is there is enough
	if again := h.resolve(o)["web"]; again.Digest == "" {
		t.Errorf("of one platform: %+v", again)
	}
}

// A RUN for a processor that this kernel cannot run says so, and how to get on.
func TestRunForAnotherProcessor(t *testing.T) {
	h := newHarbour(t)
	header := "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 40) // of RISC-V
	h.write(map[string]string{"Dockerfile": "FROM scratch\nCOPY --chmod=755 sh /bin/sh\nRUN true\n", "sh": header})
	o := h.options(map[string]types.BuildConfig{"web": {}})
	o.Registry.Platforms = []string{"linux/riscv64"}
	_, err := h.try(o)
	if fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "RUN true") || !strings.Contains(fault.HintOf(err), "BUILDPLATFORM") {
		t.Errorf("got %v\nhint: %s", err, fault.HintOf(err))
	}
}

func TestImageOfAnotherServiceAtARegistry(t *testing.T) {
	h := newHarbour(t)
	h.write(map[string]string{"a/Dockerfile": "FROM base:1\nRUN echo hello > /word\n", "b/Dockerfile": "FROM up\nRUN cat /word\n"})
	o := h.options(map[string]types.BuildConfig{"a": {Context: "a"}, "b": {Context: "b", AdditionalContexts: types.Mapping{"up": "service:a"}}})
	first := h.resolve(o)
	if !first["a"].Built || !first["b"].Built {
		t.Errorf("first: %+v", first)
	}
	h.write(map[string]string{"b/Dockerfile": "FROM up\nRUN cat /word /word\n"}) // its parent is taken from the registry
	second := h.resolve(o)
	if second["a"].Built || !second["b"].Built || second["a"].Ref != first["a"].Ref {
		t.Errorf("second: %+v", second)
	}
}

func TestImagesThatAreOnlyNamed(t *testing.T) {
	h := newHarbour(t)
	ref := h.r.Host + "/shop/db:1"
	archive := layered(t, ref)
	service := func(name string) image.Options {
		s := volumes(name, "/empty")
		o := h.options(nil)
		o.Project, o.Elsewhere = projectOf(s), true
		return o
	}
	if _, err := h.try(service(ref)); fault.KindOf(err) != fault.Build || !strings.HasSuffix(err.Error(), "does not have it") {
		t.Errorf("nowhere: %v", err)
	}
	if _, err := h.store.Load(t.Context(), bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.try(service(ref)); fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "is in the node's store only") {
		t.Errorf("in the store only: %v", err)
	}
	digest := h.r.upload(ref, archive)
	cached := service(ref)
	cached.LayerCache = t.TempDir()
	got := h.resolve(cached)["web"]
	config := h.r.config(ref)
	h.r.Requests()
	if diff := cmp.Diff(got, h.resolve(cached)["web"]); diff != "" {
		t.Errorf("again:\n%s", diff)
	}
	for _, r := range h.r.Requests() {
		if strings.Contains(r, "/blobs/") && !strings.HasSuffix(r, config) {
			t.Errorf("again, a layer was fetched: %s", r)
		}
	}
	if got.Ref != ref || got.Digest != digest || got.Built || got.Config.User != "app" || len(got.Content) != 1 {
		t.Errorf("there: %+v", got)
	}
	o := service(ref)
	o.Registry.Platforms = []string{"linux/s390x"}
	if _, err := h.try(o); fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "is not made for linux/s390x, only for linux/") {
		t.Errorf("for another processor: %v", err)
	}
	silent := "127.0.0.1:1/shop/db:1"
	if got := h.resolve(service(silent))["web"]; got.Ref != silent || got.Unknown != "127.0.0.1:1 cannot be reached" {
		t.Errorf("out of reach: %+v", got)
	}
	if w := h.events(progress.Warned); len(w) != 1 || !strings.Contains(w[0], "was not looked up: 127.0.0.1:1 cannot be reached") {
		t.Errorf("warnings: %v", w)
	}
	if _, err := h.store.Load(t.Context(), bytes.NewReader(layered(t, silent))); err != nil {
		t.Fatal(err)
	}
	if got := h.resolve(service(silent))["web"]; got.Unknown != "" || got.Config.User != "app" || got.Digest != "" {
		t.Errorf("out of reach, and in the store: %+v", got)
	}
}

// A pull trusts the authority that Docker would, and sends the login over TLS.
func TestPullOverTLS(t *testing.T) {
	h := newHarbour(t)
	ref := h.r.Host + "/shop/app:1"
	h.r.upload(ref, layered(t, ref))
	o := image.Options{Project: projectOf(volumes(ref)), Certificates: h.r.o.Certificates}
	if got := h.resolve(o)["web"]; !got.Built || got.Config.User != "app" {
		t.Errorf("got %+v", got)
	}
	other := h.r.Host + "/shop/app:2"
	h.r.upload(other, layered(t, other))
	o = image.Options{Project: projectOf(volumes(other))}
	if _, err := h.try(o); fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "is not trusted") || !strings.Contains(fault.HintOf(err), "certs.d") {
		t.Errorf("without the authority: %v; hint: %s", err, fault.HintOf(err))
	}
}

// One setting serves pulls, lookups and the builder.
func TestMirrors(t *testing.T) {
	h := newHarbour(t)
	from := "registry.invalid/shop/base:1" // is nowhere
	h.r.upload(h.r.Host+"/cache/shop/base:1", imagetest.BaseImage(t, h.r.Host+"/cache/shop/base:1"))
	mirrors, err := image.ParseMirrors([]string{"registry.invalid=" + h.r.Host + "/cache"})
	if err != nil {
		t.Fatal(err)
	}
	o := image.Options{Project: projectOf(volumes(from)), Mirrors: mirrors, Certificates: h.r.o.Certificates, DryRun: true}
	if got := h.resolve(o)["web"]; got.Unknown != "" {
		t.Errorf("a lookup: %+v", got)
	}
	h.write(map[string]string{"Dockerfile": "FROM " + from + "\nRUN echo 1 > /a\n"})
	o.Project, o.DryRun = h.project(map[string]types.BuildConfig{"web": {}}), false
	if got := h.resolve(o)["web"]; !got.Built || !strings.HasPrefix(got.Base, from+"@sha256:") {
		t.Errorf("a build: %+v", got)
	}
	o.Project = projectOf(volumes(from))
	if got := h.resolve(o)["web"]; got.Ref != from {
		t.Errorf("a pull: %+v", got)
	}
}
