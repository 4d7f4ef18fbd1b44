package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/image/imagetest"
	"github.com/perch-k8s/perch/internal/progress"
)

func TestMain(m *testing.M) { os.Exit(imagetest.Main(m)) }

// lab is a node with a base image "base:1", and a project folder.
type lab struct {
	*testing.T
	node  *imagetest.Node
	store image.Store
	dir   string
	mu    sync.Mutex
	seen  []progress.Event
}

func newLab(t *testing.T, budget ...int64) *lab {
	t.Helper()
	n := imagetest.Start(t, budget...)
	l := &lab{T: t, node: n, store: image.Store{Containerd: n.Containerd, Builder: n.Builder, Registries: n.Registries}, dir: t.TempDir()}
	if _, err := l.store.Load(t.Context(), bytes.NewReader(imagetest.BaseImage(t, "base:1"))); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) Report(e progress.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, e)
}

// events is what was reported with that status since the last call of resolve, as "ID: text".
func (l *lab) events(s progress.Status) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.seen {
		if e.Status == s {
			out = append(out, e.ID+": "+e.Text)
		}
	}
	return out
}

func (l *lab) write(files map[string]string) {
	l.Helper()
	for name, text := range files {
		path := filepath.Join(l.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			l.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			l.Fatal(err)
		}
	}
}

func (l *lab) git(args ...string) string {
	l.Helper()
	cmd := exec.Command("git", append([]string{"-C", l.dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.Fatalf("git %v: %s", args, out)
	}
	return strings.TrimSpace(string(out))
}

// project has a service for each build; a relative context is below l.dir.
func (l *lab) project(builds map[string]types.BuildConfig) *types.Project {
	p := &types.Project{Name: "shop", WorkingDir: l.dir, Services: types.Services{}, Environment: types.Mapping{}}
	for name, b := range builds {
		b.Context = filepath.Join(l.dir, b.Context)
		s := types.ServiceConfig{Name: name}
		s.Build = &b
		p.Services[name] = s
	}
	return p
}

func (l *lab) try(o image.Options) (map[string]image.Image, error) {
	l.mu.Lock()
	l.seen = nil
	l.mu.Unlock()
	return image.Resolve(l.Context(), o, l.store, l)
}

func (l *lab) resolve(o image.Options) map[string]image.Image {
	l.Helper()
	out, err := l.try(o)
	if err != nil {
		f, _ := errors.AsType[*fault.Error](err)
		l.Fatalf("%v\n%+v", err, f)
	}
	return out
}

// file is what an image has at path, read by building on it.
func (l *lab) run(ref, command string) string {
	l.Helper()
	dir := l.TempDir()
	p := &types.Project{Name: "look", WorkingDir: dir, Services: types.Services{}}
	s := types.ServiceConfig{Name: "x"}
	s.Build = &types.BuildConfig{Context: dir, DockerfileInline: fmt.Sprintf(
		"FROM %s AS there\nFROM base:1\nCOPY --from=there / /there\nRUN cd /there; %s; exit 7\n", ref, command)}
	p.Services["x"] = s
	_, err := l.try(image.Options{Project: p})
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		l.Fatal(err)
	}
	return strings.Join(f.Output, "\n")
}

func TestBuildOnceAndAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{
		"Dockerfile": "FROM base:1\nARG WORD\nCOPY . /src\nRUN cat /src/a.txt > /b.txt && stat -c '%a' /src/a.txt\nEXPOSE 80\nLABEL word=$WORD\n",
		"a.txt":      "hello\n", "junk/x": "1", ".dockerignore": "junk\n",
	})
	word := func(w string) image.Options {
		return image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Dockerfile: "Dockerfile", Args: types.MappingWithEquals{"WORD": &w}}})}
	}
	first := l.resolve(word("x"))["web"]
	if !first.Built || first.Config.Labels["word"] != "x" || len(first.Config.ExposedPorts) != 1 {
		t.Errorf("first build: %+v", first)
	}
	if !regexp.MustCompile(`^docker\.io/library/shop-web:[0-9a-f]{12}$`).MatchString(first.Ref) {
		t.Errorf("ref of a folder without git: %s", first.Ref)
	}
	if got := l.run(first.Ref, "ls src"); got != "Dockerfile\na.txt" {
		t.Errorf("the context in the image: %q", got)
	}

	start := time.Now()
	again := l.resolve(word("x"))["web"]
	t.Logf("nothing changed: %v", time.Since(start))
	first.Built = false
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("nothing changed:\n%s", diff)
	}
	l.write(map[string]string{"junk/x": "2"})
	if got := l.resolve(word("x"))["web"]; got.Ref != first.Ref || got.Built {
		t.Errorf("an ignored file changed: %+v", got)
	}
	if got := l.resolve(word("y"))["web"]; got.Ref == first.Ref || got.Config.Labels["word"] != "y" {
		t.Errorf("an argument changed: %+v", got)
	}
	l.write(map[string]string{"a.txt": "bye\n"})
	start = time.Now()
	changed := l.resolve(word("x"))["web"]
	t.Logf("one line changed: %v", time.Since(start))
	if changed.Ref == first.Ref || changed.Digest == first.Digest {
		t.Errorf("a file changed: %+v", changed)
	}

	o := word("x")
	o.AlwaysBuild = true
	if got := l.resolve(o)["web"]; got.Ref != changed.Ref || got.Built {
		t.Errorf("built again from the cache: %+v", got)
	}
	o.NoCache = true
	anew := l.resolve(o)["web"]
	if anew.Ref != changed.Ref+".2" || !anew.Built {
		t.Errorf("built anew: %+v", anew)
	}
	if got := l.resolve(word("x"))["web"]; got.Ref != anew.Ref || got.Built {
		t.Errorf("after that: %+v", got)
	}
}

func TestTagsFollowGit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.git("init", "-q")
	l.write(map[string]string{
		"web/Dockerfile": "FROM base:1\nCOPY . /src\n", "web/a.txt": "1", "web/secret.txt": "1", "other/x": "1",
		"web/.dockerignore": "secret.txt\n", ".gitignore": "local.txt\n",
	})
	l.git("add", ".")
	l.git("commit", "-qm", "1")
	head := l.git("rev-parse", "HEAD")[:12]
	o := image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Context: "web", Dockerfile: "Dockerfile"}})}
	tag := func() string {
		t.Helper()
		_, tag, _ := strings.Cut(l.resolve(o)["web"].Ref, ":")
		return tag
	}
	if got := tag(); got != head {
		t.Errorf("clean: %s, want %s", got, head)
	}
	l.write(map[string]string{"web/secret.txt": "2", "other/x": "2"})
	if got := tag(); got != head {
		t.Errorf("only files outside the image changed: %s, want %s", got, head)
	}
	l.git("commit", "-qam", "2")
	if got := tag(); got != head {
		t.Errorf("after a commit of files outside the image: %s, want %s", got, head)
	}
	l.write(map[string]string{"web/a.txt": "2"})
	l.git("commit", "-qam", "3")
	if got := tag(); got != l.git("rev-parse", "HEAD")[:12] {
		t.Errorf("after a commit: %s", got)
	}
	for _, f := range []string{"web/a.txt", "web/new.txt", "web/local.txt"} { // changed, new, ignored by git
		t.Run(f, func(t *testing.T) {
			before := tag()
			old, err := os.ReadFile(filepath.Join(l.dir, f))
			l.write(map[string]string{f: "x"})
			got := tag()
			if !regexp.MustCompile(`^[0-9a-f]{12}-[0-9a-f]{8}$`).MatchString(got) {
				t.Errorf("dirty: %s", got)
			}
			if err == nil {
				l.write(map[string]string{f: string(old)})
			} else if err := os.Remove(filepath.Join(l.dir, f)); err != nil {
				t.Fatal(err)
			}
			if got := tag(); got != before {
				t.Errorf("put back: %s, want %s", got, before)
			}
		})
	}
}

func TestBuildFeatures(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{
		"Dockerfile": `# syntax=example.org/never/pulled:1
FROM base:1 AS build
RUN --mount=type=cache,target=/cache cat /cache/n 2>/dev/null; echo 1 > /cache/n
RUN --mount=type=secret,id=token cat /run/secrets/token > /token
RUN --mount=type=secret,id=pass,env=PASS echo $PASS > /pass
RUN cat /etc/hosts > /hosts
COPY --from=lib lib.txt /lib.txt
COPY --from=sister /sister.txt /sister.txt
FROM base:1 AS last
COPY --from=build /token /pass /hosts /lib.txt /sister.txt /
FROM base:1 AS other
`,
		"lib/lib.txt": "lib", "token": "s3cret", "sister/Dockerfile": "FROM base:1\nRUN echo sister > /sister.txt\n",
	})
	p := l.project(map[string]types.BuildConfig{
		"sister": {Context: "sister"},
		"web": {
			Target: "last", Labels: types.Labels{"team": "a"}, ExtraHosts: types.HostsList{"db.local": {"10.9.8.7"}},
			AdditionalContexts: types.Mapping{"lib": filepath.Join(l.dir, "lib"), "sister": "service:sister"},
			Secrets:            []types.ServiceSecretConfig{{Source: "token"}, {Source: "password", Target: "pass"}},
		},
	})
	p.Secrets = types.Secrets{"token": {File: filepath.Join(l.dir, "token")}, "password": {Environment: "PW"}}
	p.Environment = types.Mapping{"PW": "pw1"}
	web := l.resolve(image.Options{Project: p, Services: []string{"web"}})["web"]
	if got := l.run(web.Ref, "cat token pass sister.txt lib.txt; cat hosts"); !strings.HasPrefix(got, "s3cretpw1\nsister\nlib") || !strings.Contains(got, "10.9.8.7\tdb.local") {
		t.Errorf("in the image: %q", got)
	}
	if web.Config.Labels["team"] != "a" {
		t.Errorf("labels: %v", web.Config.Labels)
	}
}

func TestSharedBuildAndNames(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo x > /x\n"})
	p := l.project(map[string]types.BuildConfig{"web": {}})
	web := p.Services["web"]
	web.Image = "example.org/acme/web:1.2"
	web.PreStart = []types.PreStartHook{{ContainerSpec: types.ContainerSpec{Image: web.Image}}, {ContainerSpec: types.ContainerSpec{Image: "base:1"}}}
	p.Services["web"] = web
	other := types.ServiceConfig{Name: "other"}
	other.Image = "example.org/acme/web:1.2"
	p.Services["other"] = other
	job := types.JobConfig{Name: "seed"}
	job.Build = &types.BuildConfig{Context: l.dir}
	p.Jobs = types.Jobs{"seed": job}

	got := l.resolve(image.Options{Project: p})
	ref := got["web"].Ref
	seed := "docker.io/library/shop-seed" + ref[strings.LastIndex(ref, ":"):]
	want := map[string]string{"web": ref, "web/pre_start/0": ref, "web/pre_start/1": "docker.io/library/base:1", "other": ref, "job/seed": seed}
	refs := map[string]string{}
	for k, i := range got {
		refs[k] = i.Ref
	}
	if diff := cmp.Diff(want, refs); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(ref, "example.org/acme/web:") || ref == web.Image {
		t.Errorf("ref: %s", ref)
	}
	if diff := cmp.Diff([]string{"image web: " + ref}, l.events(progress.Done)); diff != "" {
		t.Error(diff)
	}
	if got := l.resolve(image.Options{Project: p, Services: []string{"job/seed"}}); got["job/seed"].Ref != seed || len(got) != 1 {
		t.Errorf("the job alone: %v", got)
	}
	var names []string
	all, err := l.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"base:1", web.Image, ref, strings.TrimPrefix(seed, "docker.io/library/")}, names); diff != "" {
		t.Error(diff)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	tests := map[string]struct {
		files  map[string]string
		build  *types.BuildConfig
		image  string
		policy string
		want   string // a regular expression
		hint   string
		output string
	}{
		"a step fails": {
			files:  map[string]string{"Dockerfile": "FROM base:1\n\nRUN echo one && \\\n  echo two && exit 3\n"},
			want:   `^service "web": Dockerfile:3: RUN echo one &&: exit code 3$`,
			output: "one\ntwo",
		},
		"no base image": {
			files: map[string]string{"Dockerfile": "FROM 127.0.0.1:1/postgres:17\n"},
			want:  `^service "web": Dockerfile:1: FROM 127.0.0.1:1/postgres:17: image "127.0.0.1:1/postgres:17" is not in the node and no registry answers: .*connection refused$`,
			hint:  "perch image load FILE",
		},
		"no file to copy": {
			files: map[string]string{"Dockerfile": "FROM base:1\nCOPY nothing.txt /\n"},
			want:  `^service "web": Dockerfile:2: COPY nothing.txt /: .*"/nothing.txt": not found$`,
		},
		"no such instruction": {
			files: map[string]string{"Dockerfile": "FROM base:1\nRUM x\n"},
			want:  `^service "web": Dockerfile:2: RUM x: .*unknown instruction: RUM`,
		},
		"no such stage": {
			files: map[string]string{"Dockerfile": "FROM base:1\n"}, build: &types.BuildConfig{Target: "prod"},
			want: `^service "web": target stage "prod" could not be found$`,
		},
		"no Dockerfile": {want: `^service "web": no Dockerfile at \S+/Dockerfile$`, hint: "build.dockerfile"},
		"no context": {
			build: &types.BuildConfig{Context: "nowhere"},
			want:  `^service "web": the build context \S+/nowhere is not a folder$`,
		},
		"no registry": {image: "127.0.0.1:1/postgres:17", want: `^image "127.0.0.1:1/postgres:17" is not in the node and no registry answers: .*connection refused$`, hint: "perch image load FILE"},
		"never pull":  {image: "postgres:17", policy: "never", want: `^image "postgres:17" is not in the node, and pull_policy is never$`},
		"bad name":    {image: "Postgres:17", want: `^image "Postgres:17": .*lowercase`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l.dir = t.TempDir()
			l.write(tt.files)
			build := types.BuildConfig{}
			if tt.build != nil {
				build = *tt.build
			}
			p := l.project(map[string]types.BuildConfig{"web": build})
			if tt.image != "" {
				s := p.Services["web"]
				s.Image, s.Build, s.PullPolicy = tt.image, nil, tt.policy
				p.Services["web"] = s
			}
			_, err := l.try(image.Options{Project: p})
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != fault.Build {
				t.Fatalf("%T %v", err, err)
			}
			if !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("error: %s\nwant:  %s", err, tt.want)
			}
			if !strings.Contains(f.Hint, tt.hint) {
				t.Errorf("hint: %s", f.Hint)
			}
			if got := strings.Join(f.Output, "\n"); tt.output != "" && got != tt.output {
				t.Errorf("output: %q", got)
			}
		})
	}
}

func TestGoWithoutDockerfile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{
		"go.mod":             "module example.org/hello\n\ngo 1.24\n\nreplace example.org/lib => ../lib\n\nrequire example.org/lib v0.0.0\n",
		"cmd/hello/main.go":  "package main\n\nimport \"example.org/lib\"\n\nfunc main() { println(lib.Word) }\n",
		"internal/x/x.go":    "package x\n",
		"../lib/go.mod":      "module example.org/lib\n\ngo 1.24\n",
		"../lib/lib.go":      "package lib\n\nconst Word = \"hello\"\n",
		"../lib/lib_test.go": "package lib\n",
	})
	o := image.Options{Project: l.project(map[string]types.BuildConfig{"web": {Dockerfile: "Dockerfile", Labels: types.Labels{"a": "b"}}})}
	web := l.resolve(o)["web"]
	want := []string{"/ko-app/hello"}
	if diff := cmp.Diff(want, web.Config.Entrypoint); diff != "" || web.Config.User != "65532:65532" || web.Config.Labels["a"] != "b" {
		t.Errorf("config: %+v", web.Config)
	}
	if got := l.run(web.Ref, "./ko-app/hello 2>&1; cat etc/passwd; stat -c %a tmp"); !strings.HasPrefix(got, "hello\nroot:") || !strings.HasSuffix(got, "1777") {
		t.Errorf("in the image: %q", got)
	}
	start := time.Now()
	if got := l.resolve(o)["web"]; got.Built || got.Ref != web.Ref {
		t.Errorf("nothing changed: %+v", got)
	}
	t.Logf("nothing changed: %v", time.Since(start))
	o.AlwaysBuild = true
	start = time.Now()
	if got := l.resolve(o)["web"]; got.Built || got.Digest != web.Digest {
		t.Errorf("the same source gave another image: %+v", got)
	}
	t.Logf("built again: %v", time.Since(start))
	o.AlwaysBuild = false
	l.write(map[string]string{"../lib/lib.go": "package lib\n\nconst Word = \"bye\"\n"})
	if got := l.resolve(o)["web"]; !got.Built || got.Ref == web.Ref {
		t.Errorf("a replaced module changed: %+v", got)
	}
	l.write(map[string]string{"cmd/hello/main.go": "package main\n\nfunc main() { nothing() }\n"})
	_, err := l.try(o)
	if got, want := fmt.Sprint(err), `service "web": go build ./cmd/hello: cmd/hello/main.go:3:15: undefined: nothing`; got != want || fault.KindOf(err) != fault.Build {
		t.Errorf("does not compile: %s", got)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(imagetest.BaseImage(t, "example.org/a/b:2")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := l.store.Load(t.Context(), &zipped)
	if diff := cmp.Diff([]string{"example.org/a/b:2"}, names); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := l.store.Load(t.Context(), strings.NewReader("no tar")); err == nil || fault.HintOf(err) == "" {
		t.Errorf("no archive: %v", err)
	}
	gone := image.Store{Containerd: filepath.Join(l.dir, "none.sock")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := gone.List(ctx); fault.KindOf(err) != fault.Unreachable {
		t.Errorf("no node: %v", err)
	}
}

// eventually waits for what another process does.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

func TestBuilderComesAndGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if l.node.BuilderRuns() {
		t.Error("the builder runs before it is needed")
	}
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo 1 > /x\nCOPY a /\n", "a": "1"})
	o := image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}})}
	l.resolve(o)
	eventually(t, "the builder's end", func() bool { return !l.node.BuilderRuns() })
	l.write(map[string]string{"a": "2"})
	l.resolve(o)
	for _, e := range l.events(progress.Working) {
		if strings.Contains(e, "RUN") {
			t.Errorf("the cache did not last: %s", e)
		}
	}
	// Connections that come while it ends are not lost.
	for range 20 {
		conn, err := net.Dial("unix", l.node.Builder)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(imagetest.Idle - 5*time.Millisecond)
		o.AlwaysBuild = true
		l.resolve(o)
	}
}

func TestBuilderKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN --mount=type=cache,target=/c echo started && sleep 600\n"})
	o := image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}}), Verbose: true}
	failed := make(chan error, 1)
	go func() { _, err := l.try(o); failed <- err }()
	eventually(t, "the step", func() bool { return len(l.events(progress.Output)) > 0 })
	l.node.KillBuilder(t)
	if err := <-failed; fault.KindOf(err) != fault.Build || !strings.HasPrefix(fmt.Sprint(err), `service "web": the node's builder is gone`) {
		t.Errorf("a killed builder: %v", err)
	}
	left := l.node.Runs(t)
	if len(left) != 1 || !l.node.Alive(t, left[0]) {
		t.Fatalf("RUNs after the kill: %v", left)
	}
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN --mount=type=cache,target=/c echo ok\n"})
	l.resolve(o)
	if got := l.node.Runs(t); len(got) != 0 || l.node.Alive(t, left[0]) {
		t.Errorf("RUNs left: %v", got)
	}
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo started && sleep 600\n"})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := image.Resolve(ctx, image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}}), Verbose: true}, l.store, l)
		failed <- err
	}()
	eventually(t, "the step", func() bool { return len(l.events(progress.Output)) > 0 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	eventually(t, "the end of its container", func() bool { return len(l.node.Runs(t)) == 0 })
	if got := l.events(progress.Failed); len(got) > 0 {
		t.Errorf("reported as failed: %v", got)
	}
}

func TestBuilderFolderLost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(map[string]string{"Dockerfile": "FROM base:1\nRUN echo 1 > /x\n"})
	o := image.Options{Project: l.project(map[string]types.BuildConfig{"web": {}})}
	l.resolve(o)
	eventually(t, "the builder's end", func() bool { return !l.node.BuilderRuns() })
	before := l.node.Leases(t)
	if len(before) == 0 {
		t.Fatal("no lease holds the cache")
	}
	if err := os.RemoveAll(filepath.Join(l.node.Dir, "builder")); err != nil {
		t.Fatal(err)
	}
	o.AlwaysBuild = true
	l.resolve(o)
	after := l.node.Leases(t)
	for _, id := range before {
		if slices.Contains(after, id) {
			t.Errorf("lease %s of a lost folder stays for ever", id)
		}
	}
}
