package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	gobuild "go/build"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/mod/modfile"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// buildGo makes t's image for the node and stores it under each of refs.
func (rs *resolver) buildGo(ctx context.Context, t *task, refs []string) error {
	made, err := rs.goImages(ctx, t, false)
	if err != nil {
		return err
	}
	rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "storing"})
	for _, ref := range refs { // what is there already is not sent again
		if err := rs.store.importImage(ctx, made[0], ref); err != nil {
			return err
		}
	}
	return nil
}

// goImages compiles t's module with this machine's Go, once for each platform, and puts each binary on a base of our own.
// Layers are compressed for a registry, and not for the node, which would only have to unpack them again.
func (rs *resolver) goImages(ctx context.Context, t *task, compressed bool) ([]ggcr.Image, error) {
	r := t.recipe
	tmp, err := os.MkdirTemp("", "perch-go")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // in the temporary folder: the system clears it too
	base, warning, err := baseFiles(os.DirFS("/"))
	if err != nil {
		return nil, r.fault("", "base image: %w", err)
	}
	if warning != "" {
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Warned, Text: warning})
	}
	var out []ggcr.Image
	for _, text := range r.platforms {
		p, err := platforms.Parse(text)
		if err != nil {
			return nil, r.fault("", "build platform %q: %w", text, err)
		}
		step := "go build " + r.main
		if len(r.platforms) > 1 {
			step += " for " + text
		}
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: step})
		binary := filepath.Join(tmp, strings.ReplaceAll(text, "/", "-"))
		if err := r.compile(ctx, p, binary); err != nil {
			return nil, err
		}
		img, err := goApp{base: base, name: r.binaryName(), binary: binary, labels: r.config.Labels, platform: p, compressed: compressed}.image()
		if err != nil {
			return nil, r.fault("", "%w", err)
		}
		out = append(out, img)
	}
	return out, nil
}

// compile is `go build` as ko does it: static, and the same bytes for the same source wherever it lies.
func (r *recipe) compile(ctx context.Context, p ocispec.Platform, out string) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		return r.fault("install Go, or write a Dockerfile", "a folder with a go.mod and no Dockerfile is built with this machine's Go, and it has none")
	}
	// The commit is in the image's tag. In the binary it would make every commit another image.
	cmd := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, r.main)
	cmd.Dir = r.config.Context
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.Architecture)
	if p.Architecture == "arm" && p.Variant != "" {
		cmd.Env = append(cmd.Env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
	}
	text := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = text, text
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return r.compileFault(err, text.String())
	}
	return nil
}

var goPosition = regexp.MustCompile(`(?m)^\S+\.(?:go|mod|sum|work):\d+(?::\d+)?: .*$`)

// compileFault leads with the first mistake the compiler names.
func (r *recipe) compileFault(err error, output string) error {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	first := goPosition.FindString(output)
	if first == "" {
		first = lines[len(lines)-1]
	}
	if strings.TrimSpace(first) == "" {
		first = err.Error()
	}
	return &fault.Error{
		Kind:   fault.Build,
		Err:    fmt.Errorf("service %q: go build %s: %s", r.owner, r.main, first),
		Output: lines[max(0, len(lines)-keepLines):],
		Hint:   mendHint,
	}
}

// useGo settles that r is built without a Dockerfile: which command, and which other folders its module takes in.
func (r *recipe) useGo() error {
	c := r.config
	if c.Target != "" || len(c.Args) > 0 || len(c.Secrets) > 0 || len(c.AdditionalContexts) > 0 {
		return r.fault("write a Dockerfile, or take those keys away",
			"%s has a go.mod and no Dockerfile, and then args, target, secrets and additional_contexts of build have no meaning", c.Context)
	}
	r.golang, r.dockerfile = true, ""
	if err := r.findMain(); err != nil {
		return err
	}
	return r.findModules()
}

// findMain looks for package main in the context itself, then in cmd/*: the only one, or the one called as the service.
func (r *recipe) findMain() error {
	if isMain(r.config.Context) {
		r.main = "."
		return nil
	}
	dirs, err := filepath.Glob(filepath.Join(r.config.Context, "cmd", "*"))
	if err != nil {
		return r.fault("", "%w", err)
	}
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return !isMain(d) })
	var names []string
	for _, d := range dirs {
		names = append(names, "./cmd/"+filepath.Base(d))
	}
	switch own := "./cmd/" + r.owner; {
	case slices.Contains(names, own):
		r.main = own
	case len(names) == 1:
		r.main = names[0]
	case len(names) == 0:
		return r.fault("write a Dockerfile, or put the command there", "no Dockerfile, and no Go command, in %s or its cmd/*", r.config.Context)
	default:
		return r.fault("write a Dockerfile, or name the service after one of them", "no Dockerfile, and which Go command is meant is not clear: %s", strings.Join(names, ", "))
	}
	return nil
}

func isMain(dir string) bool {
	c := gobuild.Default
	c.GOOS, c.CgoEnabled = "linux", false
	p, err := c.ImportDir(dir, 0)
	return err == nil && p.Name == "main"
}

// findModules adds the folders outside the context that the module is made of: replacements by path, and a workspace.
// A change in one of them is a change of the image.
func (r *recipe) findModules() error {
	dir := r.config.Context
	gomod := filepath.Join(dir, "go.mod")
	text, err := os.ReadFile(gomod)
	if err != nil {
		return r.fault("", "%w", err)
	}
	mod, err := modfile.Parse(gomod, text, nil)
	if err != nil {
		return nil //nolint:nilerr // go itself says it better, in a moment
	}
	for _, rep := range mod.Replace {
		r.addModule(dir, rep.New.Path)
	}
	for at := dir; ; at = filepath.Dir(at) {
		name := filepath.Join(at, "go.work")
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return nil //nolint:nilerr // no workspace, or one that go will complain about
		}
		work, err := modfile.ParseWork(name, text, nil)
		if err != nil {
			return r.fault("", "%w", err)
		}
		for _, u := range work.Use {
			r.addModule(at, u.Path)
		}
		for _, rep := range work.Replace {
			r.addModule(at, rep.New.Path)
		}
		return nil
	}
}

func (r *recipe) addModule(from, path string) {
	if !modfile.IsDirectoryPath(path) {
		return // a module by its path and version
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(from, path)
	}
	rel, err := filepath.Rel(r.config.Context, path)
	if err != nil || rel == "." || !strings.HasPrefix(rel, "..") {
		return // inside the context already
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		r.contexts = append(r.contexts, namedContext{name: "go " + rel, dir: path})
	}
}

// binaryName is what the command is called in the image.
func (r *recipe) binaryName() string {
	if r.main == "." {
		return filepath.Base(r.config.Context)
	}
	return filepath.Base(r.main)
}
