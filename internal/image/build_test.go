package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/progress"
)

func (l *lab) names() []string {
	l.Helper()
	all, err := l.store.List(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	var out []string
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

func TestHealthcheckAndUserOfABuild(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{
		"Dockerfile": "FROM base:1\nCOPY etc /etc\nCOPY data /data\nUSER app\nHEALTHCHECK --interval=7s --start-interval=1s --retries=2 CMD [\"cat\", \"/data/a\"]\n",
		"etc/passwd": "app:x:1000:1000::/:/bin/sh\n", "etc/group": "app:x:1000:\n", "data/a": "1",
	})
	p := l.project(map[string]types.BuildConfig{"web": {}})
	web := p.Services["web"]
	web.Volumes = volumes("", "/data").Volumes
	p.Services["web"] = web
	two := uint64(2)
	want := &types.HealthCheckConfig{Test: types.HealthCheckTest{"CMD", "cat", "/data/a"}, Interval: seconds(7), StartInterval: seconds(1), Retries: &two}
	for _, dry := range []bool{true, false, true} {
		got := l.resolve(image.Options{Project: p, DryRun: dry})["web"]
		if dry && got.Built {
			if got.Unknown != "it is not built yet" || got.Health != nil {
				t.Errorf("before it is built: %+v", got)
			}
			continue
		}
		if diff := cmp.Diff(want, got.Health); diff != "" {
			t.Error(diff)
		}
		if got.User.UID == nil || *got.User.UID != 1000 || !got.Content["/data"].Filled || !got.Shell {
			t.Errorf("user and content: %+v", got)
		}
	}
	l.write(map[string]string{"Dockerfile": "FROM base:1\nHEALTHCHECK NONE\n"})
	if got := l.resolve(image.Options{Project: p})["web"]; got.Health == nil || !got.Health.Disable {
		t.Errorf("HEALTHCHECK NONE: %+v", got.Health)
	}
}

func TestBuildTags(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo 1 > /x\n"})
	p := l.project(map[string]types.BuildConfig{
		"web": {Tags: types.StringList{"acme/web:1", "example.org/acme/web"}}, "worker": {Tags: types.StringList{"acme/worker:2"}},
	})
	l.resolve(image.Options{Project: p})
	for _, name := range []string{"acme/web:1", "example.org/acme/web:latest", "acme/worker:2"} {
		if !slices.Contains(l.names(), name) {
			t.Errorf("%s is not among %v", name, l.names())
		}
	}
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo 2 > /x\n"})
	l.resolve(image.Options{Project: p})
	if got := l.run("acme/web:1", "cat x"); got != "2" {
		t.Errorf("the tag did not follow: %q", got)
	}
}

// TestBuildRuntime looks at what a RUN gets.
func TestBuildRuntime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	agent := filepath.Join(t.TempDir(), "agent")
	socket, err := net.Listen("unix", agent)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	l.write(map[string]string{"Dockerfile": `FROM base:1
RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo agent > /ssh
RUN --mount=type=ssh,id=other test -S $SSH_AUTH_SOCK && echo other >> /ssh
RUN while read -r a b c d e f g h i; do case "$e $b" in "/dev/shm "*) echo "$i" > /shm;; esac; done < /proc/self/mountinfo
RUN while read -r name soft rest; do case "$name" in Max) ;; esac; echo "$name $soft $rest"; done < /proc/self/limits > /limits
RUN while read -r key value; do echo "$key $value"; done < /proc/self/status > /caps
RUN --security=insecure while read -r key value; do echo "$key $value"; done < /proc/self/status > /caps-insecure
RUN --mount=type=secret,id=token,mode=0404,uid=5 stat -c '%a %u' /run/secrets/token > /secret
RUN ls /sys/class/net > /net
`})
	p := l.project(map[string]types.BuildConfig{"web": {
		SSH: types.SSHConfig{{ID: "default"}, {ID: "other", Path: agent}}, ShmSize: 32 << 20, Network: "none", Privileged: true,
		Ulimits: map[string]*types.UlimitsConfig{"nofile": {Soft: 111, Hard: 222}},
		Secrets: []types.ServiceSecretConfig{{Source: "token"}},
	}})
	p.Environment = types.Mapping{"SSH_AUTH_SOCK": agent}
	p.Secrets = types.Secrets{"token": {Content: "x"}}
	ref := l.resolve(image.Options{Project: p})["web"].Ref
	for command, want := range map[string]string{
		"cat ssh":           `^agent\nother$`,
		"cat shm":           `size=32768k`,
		"cat limits":        `Max open files +111 +222`,
		"cat caps":          `CapEff: 00000000a80425fb`,
		"cat caps-insecure": `CapEff: 0*[13]ff`,
		"cat secret":        `^404 5$`,
		"cat net":           `^lo$`,
	} {
		if got := l.run(ref, command); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", command, got, want)
		}
	}
}

func TestBuildCaches(t *testing.T) {
	t.Parallel()
	host, _, _ := strings.Cut(serve(t), "/")
	dir := t.TempDir()
	build := types.BuildConfig{
		CacheFrom: types.StringList{"type=local,src=" + dir, host + "/cache/web:1"},
		CacheTo:   types.StringList{"type=local,dest=" + dir, "type=registry,ref=" + host + "/cache/web:1"},
	}
	files := map[string]string{"Dockerfile": "FROM base:1\nRUN cat /proc/sys/kernel/random/uuid > /x\n"}
	first := newLab(t)
	first.write(files)
	web := first.resolve(image.Options{Project: first.project(map[string]types.BuildConfig{"web": build})})["web"]
	want := first.run(web.Ref, "cat x")
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
		t.Error(err)
	}
	for name, from := range map[string]string{"local": build.CacheFrom[0], "registry": build.CacheFrom[1]} {
		other := newLab(t) // a node that never built it
		other.write(files)
		o := image.Options{Project: other.project(map[string]types.BuildConfig{"web": {CacheFrom: types.StringList{from, "type=gha"}}}), Verbose: true}
		web := other.resolve(o)["web"]
		if diff := cmp.Diff([]string{`image web: the node's builder has no cache of type "gha": it is left out`}, other.events(progress.Warned)); diff != "" {
			t.Error(diff)
		}
		if got := other.run(web.Ref, "cat x"); got != want || want == "" {
			t.Errorf("%s: %q was built without the cache, which has %q", name, got, want)
		}
	}
}

func TestBuildAttestations(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo 1 > /x\n"})
	plain := l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Provenance: "false"}})})["web"]
	got := l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Provenance: "mode=max"}})})["web"]
	if !got.Built || got.Ref == plain.Ref || !cmp.Equal(got.Config, plain.Config) {
		t.Errorf("%+v\nwithout: %+v", got, plain)
	}
	var index struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(l.node.Blob(t, got.Digest), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 || index.Manifests[1].Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
		t.Errorf("the image's index: %+v", index)
	}
	if again := l.resolve(image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Provenance: "mode=max"}})})["web"]; again.Built || again.Ref != got.Ref {
		t.Errorf("nothing changed: %+v", again)
	}
}

// archive is a tar of files.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// gitServer serves the repositories in dir by git's own HTTP server.
func gitServer(t *testing.T, dir string) http.Handler {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(path)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git has no HTTP server here")
	}
	return &cgi.Handler{Path: backend, Env: []string{
		"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
}

func TestBuildOfAnAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"repo.git/sub/Dockerfile": "FROM base:1\nCOPY a.txt /git/\n", "repo.git/sub/a.txt": "a", "repo.git/b": "b"})
	l.git("init", "-q", "-b", "main", "repo.git")
	l.git("-C", "repo.git", "add", ".")
	l.git("-C", "repo.git", "commit", "-qm", "1")
	tar := archive(t, map[string]string{"other": "FROM base:1\nCOPY a.txt /other/\n", "a.txt": "a"})
	mux := http.NewServeMux()
	mux.Handle("/repo.git/", gitServer(t, l.dir))
	mux.HandleFunc("/context.tar", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(tar) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for name, tt := range map[string]struct {
		build types.BuildConfig
		look  string
		want  string
	}{
		"an archive's Dockerfile": {types.BuildConfig{Context: srv.URL + "/context.tar", Dockerfile: "other"}, "ls other", "a.txt"},
		"a Dockerfile inline": {
			types.BuildConfig{Context: srv.URL + "/context.tar", DockerfileInline: "FROM base:1\nCOPY a.txt /in/\n"}, "ls in", "a.txt",
		},
		"a repository": {types.BuildConfig{Context: srv.URL + "/repo.git#main:sub"}, "ls git", "a.txt"},
		"more contexts": {
			types.BuildConfig{Context: l.dir, DockerfileInline: "FROM base:1\nCOPY --from=lib b /more/\n", AdditionalContexts: types.Mapping{"lib": srv.URL + "/repo.git#main"}},
			"ls more", "b",
		},
	} {
		p := l.project(map[string]types.BuildConfig{"web": {}})
		*p.Services["web"].Build = tt.build
		web := l.resolve(image.Options{Project: p})["web"]
		if got := l.run(web.Ref, tt.look); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
		if again := l.resolve(image.Options{Project: p})["web"]; again.Built || again.Ref != web.Ref {
			t.Errorf("%s, nothing changed: %+v", name, again)
		}
	}
}
