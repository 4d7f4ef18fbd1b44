package image_test

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
)

const user, password = "ann", "s3cret"

// startRegistry is a registry in memory; repositories below private/ want a login.
func startRegistry(t *testing.T) (host string) {
	t.Helper()
	open := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if strings.Contains(r.URL.Path, "/private/") && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		open.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// push makes an image of one random layer with that command and pushes it.
func push(t *testing.T, ref, command string) ggcr.Image {
	t.Helper()
	img, err := random.Image(1<<16, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Cmd = "linux", "amd64", []string{command}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPull(t *testing.T) {
	l := newLab(t) // not parallel: the docker configuration is found by an environment variable
	host := startRegistry(t)
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	app := host + "/app:1"
	push(t, app, "one")

	p := &types.Project{Name: "shop", WorkingDir: l.dir, Services: types.Services{}}
	set := func(ref, policy string) {
		s := types.ServiceConfig{Name: "web"}
		s.Image, s.PullPolicy = ref, policy
		p.Services["web"] = s
	}
	set(app, "")
	if got := l.resolve(image.Options{Project: p})["web"]; !got.Built || got.Ref != app || strings.Join(got.Config.Cmd, "") != "one" {
		t.Errorf("first: %+v", got)
	}
	push(t, app, "two")
	if got := l.resolve(image.Options{Project: p})["web"]; got.Built || strings.Join(got.Config.Cmd, "") != "one" {
		t.Errorf("there already: %+v", got)
	}
	set(app, "always")
	if got := l.resolve(image.Options{Project: p})["web"]; !got.Built || strings.Join(got.Config.Cmd, "") != "two" {
		t.Errorf("always: %+v", got)
	}
	if got := l.resolve(image.Options{Project: p})["web"]; got.Built {
		t.Errorf("always, and nothing new: %+v", got)
	}

	fails := func(want, hint string) {
		t.Helper()
		_, err := l.try(image.Options{Project: p})
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) || fault.KindOf(err) != fault.Build || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("%v\nhint: %s", err, fault.HintOf(err))
		}
	}
	set(host+"/app:none", "")
	fails(`^image "\S+/app:none" is not in the node, and its registry does not have it$`, "check its name")
	push(t, host+"/private/app:1", "private")
	set(host+"/private/app:1", "")
	fails(`^image "\S+/private/app:1" is not in the node, and its registry either does not have it or wants a login$`, "docker login")
	dry := image.Options{Project: p, DryRun: true}
	if got := l.resolve(dry)["web"]; got.Unknown != "it is not in the node's store, and "+host+" does not have it or wants a login" {
		t.Errorf("a dry run without a login: %+v", got)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths":{"`+host+`":{"auth":"`+auth+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := l.resolve(dry)["web"]; got.Unknown != "" || strings.Join(got.Config.Cmd, "") != "private" {
		t.Errorf("a dry run with a login: %+v", got)
	}
	if got := l.resolve(image.Options{Project: p})["web"]; strings.Join(got.Config.Cmd, "") != "private" {
		t.Errorf("with a login: %+v", got)
	}
}

func TestBaseImageIsPulledByTheBuilder(t *testing.T) {
	l := newLab(t)
	host := startRegistry(t)
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths":{"`+host+`":{"auth":"`+auth+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	push(t, host+"/private/base:1", "from the base")
	l.write(map[string]string{"Dockerfile": "FROM " + host + "/private/base:1\nCOPY . /src\n"})
	got := l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}})})["web"]
	if strings.Join(got.Config.Cmd, "") != "from the base" {
		t.Errorf("config: %+v", got.Config)
	}
}

func TestCacheStaysWithinItsBudget(t *testing.T) {
	const budget = 1 << 20
	l := newLab(t, budget)
	// The builder's copy of the context is in no image. (What is built on an image, BuildKit counts as shared with it.)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN --mount=type=bind,target=/src cp /src/big /a\n", "big": strings.Repeat("x", 3*budget)})
	l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}})})
	before := len(l.node.Leases(t))
	eventually(t, "the builder's end", func() bool { return !l.node.BuilderRuns() })
	if after := len(l.node.Leases(t)); after >= before {
		t.Errorf("leases: %d, then %d", before, after)
	}
}
