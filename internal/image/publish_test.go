package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
	"github.com/perch-k8s/perch/internal/progress"
)

// dock is a registry, and a project whose only service is a Go command: that needs no node to be built and pushed.
type dock struct {
	*testing.T
	*imagetest.Registry
	dir  string
	o    image.Options
	mu   sync.Mutex
	seen []progress.Event
}

func newDock(t *testing.T) *dock {
	t.Helper()
	d := &dock{T: t, Registry: imagetest.StartRegistry(t), dir: t.TempDir()}
	t.Setenv("DOCKER_CONFIG", d.Docker)
	d.write("go.mod", "module example.org/web\n\ngo 1.24\n")
	d.write("main.go", "package main\n\nfunc main() { println(1) }\n")
	s := types.ServiceConfig{Name: "web"}
	s.Build = &types.BuildConfig{Context: d.dir}
	p := &types.Project{Name: "shop", WorkingDir: d.dir, Services: types.Services{"web": s}, Environment: types.Mapping{}}
	d.o = image.Options{Project: p, Registry: image.Registry{Prefix: d.Host + "/acme"}, Certificates: []string{d.Certs}}
	return d
}

func (d *dock) write(name, text string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *dock) Report(e progress.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, e)
}

// texts is what was reported with that status.
func (d *dock) texts(s progress.Status) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, e := range d.seen {
		if e.Status == s {
			out = append(out, e.Text)
		}
	}
	return strings.Join(out, "\n")
}

// useHelper has the Docker configuration name a credential helper for the registry.
func (d *dock) useHelper(helper string) {
	d.Helper()
	text := fmt.Sprintf(`{"credHelpers":{%q:%q}}`, d.Host, helper)
	if err := os.WriteFile(filepath.Join(d.Docker, "config.json"), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// rename calls the registry's host otherwise, with the same authority.
func (d *dock) rename(host string) {
	d.Helper()
	other := strings.Replace(d.Host, "127.0.0.1", host, 1)
	d.o.Registry.Prefix = other + "/acme"
	if err := os.CopyFS(filepath.Join(d.Certs, other), os.DirFS(filepath.Join(d.Certs, d.Host))); err != nil {
		d.Fatal(err)
	}
}

func (d *dock) try() (image.Image, error) {
	out, err := image.Resolve(d.Context(), d.o, image.Store{}, d)
	return out["web"], err
}

func (d *dock) resolve() image.Image {
	d.Helper()
	i, err := d.try()
	if err != nil {
		d.Fatalf("%v\nhint: %s", err, fault.HintOf(err))
	}
	return i
}

// remote are options for a look at the registry past the code under test.
func (d *dock) remote() []remote.Option {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // the test's own registry
	return []remote.Option{
		remote.WithAuth(&authn.Basic{Username: imagetest.User, Password: imagetest.Password}), remote.WithTransport(transport), remote.WithContext(d.Context()),
	}
}

func (d *dock) get(ref string) *remote.Descriptor {
	d.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		d.Fatal(err)
	}
	got, err := remote.Get(parsed, d.remote()...)
	if err != nil {
		d.Fatal(err)
	}
	return got
}

// upload puts the image of an archive into the registry, past the code under test, and returns its digest.
func (d *dock) upload(ref string, archive []byte) string {
	d.Helper()
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
	if err != nil {
		d.Fatal(err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		d.Fatal(err)
	}
	if err := remote.Write(parsed, img, d.remote()...); err != nil {
		d.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		d.Fatal(err)
	}
	return digest.String()
}

// config is the digest of an image's config.
func (d *dock) config(ref string) string {
	d.Helper()
	img, err := d.get(ref).Image()
	if err != nil {
		d.Fatal(err)
	}
	h, err := img.ConfigName()
	if err != nil {
		d.Fatal(err)
	}
	return h.String()
}

// tags are those of a repository, none when it is not there.
func (d *dock) tags(repository string) []string {
	d.Helper()
	repo, err := name.NewRepository(d.Host + "/" + repository)
	if err != nil {
		d.Fatal(err)
	}
	tags, err := remote.List(repo, d.remote()...)
	if err != nil && !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		d.Fatal(err)
	}
	return tags
}

// sent is how many requests of that method there were since the last call of Requests.
func sent(requests []string, method string) (n int) {
	for _, r := range requests {
		if strings.HasPrefix(r, method+" ") {
			n++
		}
	}
	return n
}

func TestPushOfGoImages(t *testing.T) {
	d := newDock(t)
	d.o.Registry.Platforms = []string{"linux/arm64", "linux/amd64"}
	d.o.DryRun = true
	if got := d.resolve(); got.Digest != "" || !got.Built || got.Unknown != "it is not built yet" || strings.Contains(got.Ref, "@") {
		t.Errorf("a dry run before: %+v", got)
	}
	d.o.DryRun, d.seen = false, nil
	first := d.resolve()
	if !first.Built || !regexp.MustCompile(`^127\.0\.0\.1:\d+/acme/shop-web:[0-9a-f]{12}@sha256:[0-9a-f]{64}$`).MatchString(first.Ref) {
		t.Errorf("first: %+v", first)
	}
	if !strings.HasSuffix(first.Ref, "@"+first.Digest) || strings.Join(first.Config.Entrypoint, "") == "" {
		t.Errorf("first: %+v", first)
	}
	tag, _, _ := strings.Cut(first.Ref, "@")
	there := d.get(tag)
	index, err := there.ImageIndex()
	if err != nil || there.Digest.String() != first.Digest {
		t.Fatalf("the registry has %s: %v", there.Digest, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range manifest.Manifests {
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Platform.String()+" "+c.Architecture)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"linux/amd64 amd64", "linux/arm64 arm64"}, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(d.texts(progress.Working), "pushing "+tag) || d.texts(progress.Done) != tag {
		t.Errorf("events:\n%s\n%s", d.texts(progress.Working), d.texts(progress.Done))
	}
	d.Requests()
	again := d.resolve()
	first.Built = false
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("nothing changed:\n%s", diff)
	}
	if r := d.Requests(); sent(r, "POST")+sent(r, "PUT")+sent(r, "PATCH") > 0 {
		t.Errorf("nothing changed, and this was sent: %v", r)
	}
	d.o.DryRun = true
	if diff := cmp.Diff(first, d.resolve()); diff != "" {
		t.Errorf("a dry run after:\n%s", diff)
	}
	d.o.DryRun = false

}

func TestTagsDoNotMove(t *testing.T) {
	d := newDock(t)
	first := d.resolve()
	d.o.AlwaysBuild = true
	if got := d.resolve(); got.Ref != first.Ref || got.Built {
		t.Errorf("built again, and the same came out: %+v", got)
	}
	d.o.AlwaysBuild = false
	service := d.o.Project.Services["web"]
	service.Image = "web:1.2"
	service.Build.Tags = types.StringList{"registry.example/a/web:stable"}
	d.o.Project.Services["web"] = service
	named := d.resolve()
	if !named.Built || !strings.HasPrefix(named.Ref, d.Host+"/acme/web:") {
		t.Errorf("with a name: %+v", named)
	}
	for _, ref := range []string{"/acme/web:1.2", "/acme/a/web:stable"} {
		if got := d.get(d.Host + ref).Digest.String(); got != named.Digest {
			t.Errorf("%s is %s, not %s", ref, got, named.Digest)
		}
	}
}

// cut ends the connection in the middle of what is sent.
func cut(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 64<<10)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// on disturbs requests of one method.
func on(method string, f http.HandlerFunc) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		f(w, r)
		return true
	}
}

// answer refuses as registries do, after it has read what is sent.
func answer(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
	}
}

func TestPushesThatFail(t *testing.T) {
	d := newDock(t)
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	hold := func(http.ResponseWriter, *http.Request) { <-held }
	const short = 300 * time.Millisecond
	tests := []struct {
		name    string
		set     func()
		disturb func(w http.ResponseWriter, r *http.Request) bool
		stall   time.Duration
		want    string // of the error, without the name of the image and the host
		hint    string
	}{
		{name: "wrong password", set: func() { d.Login(t, "wrong") }, want: "HOST does not accept the login that the Docker configuration has for it", hint: "docker login"},
		{name: "no login", set: func() { t.Setenv("DOCKER_CONFIG", t.TempDir()) }, want: "HOST wants a login, and the Docker configuration has none for it", hint: "docker login"},
		{name: "no helper", set: func() { d.useHelper("none") }, want: "credentials for HOST: .*docker-credential-none.*", hint: "config.json"},
		{name: "another name", set: func() { d.rename("localhost") }, want: "the certificate of HOST is not its own: x509: certificate is not valid for any names, but wanted to match localhost", hint: "issued for this name"},
		{name: "wrong certificate", set: func() { d.o.Certificates = nil }, want: "the certificate of HOST is not trusted: x509: certificate signed by unknown authority", hint: "/etc/docker/certs.d/"},
		{name: "down", set: func() { d.o.Registry.Prefix = "127.0.0.1:1/acme" }, want: "HOST does not answer: dial tcp 127.0.0.1:1: connect: connection refused", hint: "the way to it"},
		{name: "full", disturb: on("PATCH", answer(507, "", "")), want: `HOST has no room for it: status 507 Insufficient Storage`, hint: "quota"},
		{name: "full in its own words", disturb: on("PATCH", answer(500, "UNKNOWN", "write /data: no space left on device")), want: `HOST has no room for it: write /data: no space left on device \(status 500 Internal Server Error\)`, hint: "quota"},
		{name: "broken", disturb: on("PUT", answer(500, "UNKNOWN", "unknown error")), want: `HOST fails: unknown error \(status 500 Internal Server Error\)`, hint: "log"},
		{name: "denied", disturb: on("POST", answer(403, "DENIED", "requested access to the resource is denied")), want: `HOST refuses: requested access to the resource is denied \(status 403 Forbidden\)`, hint: "the right to push to acme/shop-web"},
		{name: "no repository", disturb: on("POST", answer(404, "NAME_UNKNOWN", "The repository does not exist")), want: `HOST does not know acme/shop-web: The repository does not exist .*`, hint: "create the repository"},
		{name: "too big", disturb: on("PATCH", answer(413, "", "")), want: "a layer is too big for HOST: status 413 Request Entity Too Large", hint: "the proxy"},
		{name: "cut in the middle of a layer", disturb: on("PATCH", cut), want: "the connection to HOST was cut: .*", hint: "again"},
		{name: "stalled in the middle of a layer", disturb: on("PATCH", hold), stall: short, want: "HOST does not go on: nothing moved for 300ms", hint: "overloaded"},
		{name: "silent from the start", disturb: func(http.ResponseWriter, *http.Request) bool { <-held; return true }, stall: short, want: "HOST does not go on: nothing moved for 300ms", hint: "overloaded"},
	}
	whole, docker := d.o, d.Docker
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d.o = whole
			d.o.Registry.Stall = tt.stall
			d.Login(t, imagetest.Password)
			t.Setenv("DOCKER_CONFIG", docker)
			if tt.set != nil {
				tt.set()
			}
			d.Disturb(tt.disturb)
			start := time.Now()
			_, err := d.try()
			t.Logf("after %v: %v; hint: %s", time.Since(start).Round(time.Millisecond), err, fault.HintOf(err))
			d.Disturb(nil)
			host, _, _ := strings.Cut(d.o.Registry.Prefix, "/")
			want := `^(image "HOST/acme/shop-web:\w+" cannot be pushed|images cannot be pushed to HOST/acme/shop-web): ` + tt.want + "$"
			if err == nil || !regexp.MustCompile(strings.ReplaceAll(want, "HOST", regexp.QuoteMeta(host))).MatchString(err.Error()) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if fault.KindOf(err) != fault.Build || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("kind %v, hint %q", fault.KindOf(err), fault.HintOf(err))
			}
			if tags := d.tags("acme/shop-web"); len(tags) > 0 {
				t.Errorf("tags: %v", tags)
			}
		})
	}
	d.o = whole
	d.Login(t, imagetest.Password)
	if got := d.resolve(); !got.Built { // nothing of all that is in its way
		t.Errorf("in the end: %+v", got)
	}
}

func TestPushIsTriedAgain(t *testing.T) {
	for name, failure := range map[string]http.HandlerFunc{
		"cut in the middle of a layer": cut, "out of order for a moment": answer(503, "UNAVAILABLE", "try later"),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDock(t)
			failed := &atomic.Int32{}
			d.Disturb(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch || failed.Add(1) > 1 {
					return false
				}
				failure(w, r)
				return true
			})
			if got := d.resolve(); !got.Built {
				t.Errorf("got %+v", got)
			}
			if failed.Load() < 2 || !regexp.MustCompile(`pushing \S+: (\S+ fails|the connection to \S+ was cut)`).MatchString(d.texts(progress.Working)) {
				t.Errorf("%d tries, events:\n%s", failed.Load(), d.texts(progress.Working))
			}
		})
	}
}

// A push that failed at its end has left all layers there.
func TestLayersAreNotSentTwice(t *testing.T) {
	d := newDock(t)
	d.Disturb(func(w http.ResponseWriter, r *http.Request) bool {
		manifest := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		if manifest {
			answer(507, "", "")(w, r)
		}
		return manifest
	})
	if _, err := d.try(); err == nil {
		t.Fatal("no error")
	}
	d.Disturb(nil)
	d.Requests()
	d.resolve()
	if r := d.Requests(); sent(r, "PATCH") != 0 || sent(r, "PUT") != 2 { // the manifest by its digest, then by its tag
		t.Errorf("sent again: %v", r)
	}
}

// What is sent slowly is no stall.
func TestSlowRegistry(t *testing.T) {
	d := newDock(t)
	d.o.Registry.Stall = time.Second
	d.Narrow()
	d.Disturb(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			r.Body = &slowBody{ReadCloser: r.Body, left: 15}
		}
		return false
	})
	if got := d.resolve(); !got.Built {
		t.Errorf("got %+v", got)
	}
}

// slowBody takes its time for the first of what is read of it: more in all than a stall may take.
type slowBody struct {
	io.ReadCloser
	left int
}

func (s *slowBody) Read(b []byte) (int, error) {
	if s.left > 0 {
		s.left--
		time.Sleep(100 * time.Millisecond)
	}
	return s.ReadCloser.Read(b[:min(len(b), 16<<10)])
}

func TestPushIsCancelled(t *testing.T) {
	d := newDock(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("Ctrl-C")
	d.Disturb(on("PATCH", func(w http.ResponseWriter, r *http.Request) {
		cancel(ended)
		cut(w, r)
	}))
	_, err := image.Resolve(ctx, d.o, image.Store{}, d)
	if !errors.Is(err, ended) || d.texts(progress.Failed) != "" {
		t.Errorf("got %v, events: %s", err, d.texts(progress.Failed))
	}
}

func TestDryRunWithoutTheRegistry(t *testing.T) {
	d := newDock(t)
	d.o.DryRun = true
	d.o.Registry.Prefix = "127.0.0.1:1/acme"
	got := d.resolve()
	if got.Unknown != "it is not built yet, as far as is known: 127.0.0.1:1 cannot be reached" || !got.Built || !strings.HasPrefix(got.Ref, "127.0.0.1:1/acme/shop-web:") {
		t.Errorf("got %+v", got)
	}
}

func TestNoBuildForARegistry(t *testing.T) {
	d := newDock(t)
	d.o.NoBuild = true
	if _, err := d.try(); fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), "the registry does not have its image") {
		t.Errorf("got %v", err)
	}
	d.o.NoBuild = false
	first := d.resolve()
	d.o.NoBuild = true
	if got := d.resolve(); got.Ref != first.Ref {
		t.Errorf("got %+v", got)
	}
}

// A registry on this machine may be without TLS, which is no failure that is waited for.
func TestRegistryWithoutTLS(t *testing.T) {
	d := newDock(t)
	d.o.Registry.Prefix = startRegistry(t) + "/acme"
	if got := d.resolve(); !got.Built || got.Digest == "" {
		t.Errorf("got %+v", got)
	}
	if text := d.texts(progress.Working); strings.Contains(text, "without TLS") {
		t.Errorf("events:\n%s", text)
	}
}

func TestPrefixes(t *testing.T) {
	d := newDock(t)
	for in, want := range map[string]string{
		"web": "acme/web", "a/web": "acme/a/web", "registry.example/b/web": "acme/b/web", d.Host + "/acme/own": "acme/own",
	} {
		service := d.o.Project.Services["web"]
		service.Image = in
		d.o.Project.Services["web"] = service
		if got := d.resolve(); !strings.HasPrefix(got.Ref, fmt.Sprintf("%s/%s:", d.Host, want)) {
			t.Errorf("%s: %s", in, got.Ref)
		}
	}
}
