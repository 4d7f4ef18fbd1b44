package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/user"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/perch-k8s/perch/internal/fault"
)

const (
	notBuilt    = "it is not built yet" // why nothing is known of an image that a build would make
	notBuiltTag = "not-built"           // of an image whose build lacks its files, in a dry run
)

// imageConfig is an image's config as Docker writes it: HEALTHCHECK is not in the OCI's own.
type imageConfig struct {
	Config struct {
		ocispec.ImageConfig
		Healthcheck *dockerspec.HealthcheckConfig
	} `json:"config"`
}

// health is the image's HEALTHCHECK as the Compose file would say it; nil when it has none.
func (c imageConfig) health() *types.HealthCheckConfig {
	h := c.Config.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return nil
	}
	if h.Test[0] == "NONE" {
		return &types.HealthCheckConfig{Test: types.HealthCheckTest{"NONE"}, Disable: true}
	}
	out := &types.HealthCheckConfig{
		Test:    h.Test,
		Timeout: duration(h.Timeout), Interval: duration(h.Interval),
		StartPeriod: duration(h.StartPeriod), StartInterval: duration(h.StartInterval),
	}
	if h.Retries > 0 {
		n := uint64(h.Retries)
		out.Retries = &n
	}
	return out
}

// duration is nil for zero, which leaves Docker's default.
func duration(d time.Duration) *types.Duration {
	if d == 0 {
		return nil
	}
	out := types.Duration(d)
	return &out
}

// library opens the files of images, each once, and only those that are asked for.
type library struct {
	store  *client
	mu     sync.Mutex
	opened map[string]opener
}

// opener opens the files of an image, which are read as long as ctx goes on.
type opener func(ctx context.Context) (files, error)

// known says where the files of an image come from that is not in the store.
func (l *library) known(ref string, open opener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened[ref] = once(open)
}

// once opens for the first who asks, and gives the others the same.
func once(open opener) opener {
	var start sync.Once
	var f files
	var err error
	return func(ctx context.Context) (files, error) {
		start.Do(func() { f, err = open(ctx) })
		return f, err
	}
}

// files are those of an image in the store, unless it is known to be elsewhere.
func (l *library) files(ctx context.Context, ref string) (files, error) {
	l.mu.Lock()
	open := l.opened[ref]
	if open == nil {
		open = once(func(ctx context.Context) (files, error) { return l.store.files(ctx, ref) })
		l.opened[ref] = open
	}
	l.mu.Unlock()
	return open(ctx)
}

// look completes images by what each container's image has for it: users, and content where volumes are mounted.
func (rs *resolver) look(ctx context.Context, images map[string]Image) error {
	containers, err := wants(rs.options.Project, rs.options.Services)
	if err != nil {
		return err
	}
	results := make([]Image, len(containers))
	g, ctx := errgroup.WithContext(ctx)
	for i, w := range containers {
		results[i] = images[w.key]
		g.Go(func() error {
			v := viewer{want: w, shell: rs.options.Shell, strict: !rs.options.DryRun, image: &results[i], open: func() (files, error) { return rs.library.files(ctx, results[i].Ref) }}
			return v.look()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, w := range containers {
		images[w.key] = results[i]
	}
	return nil
}

// viewer looks into one image for one container.
type viewer struct {
	want
	shell  bool // look for one in any case
	strict bool // files that cannot be read are a failure
	image  *Image
	open   func() (files, error)
}

// unreadError is of files that a dry run does without: they are at a registry.
type unreadError struct{ error }

func (u unreadError) Unwrap() error { return u.error }

func (v *viewer) look() error {
	err := v.findUser()
	if err == nil && v.image.Unknown == "" {
		err = v.findContent()
	}
	switch unread := errors.As(err, new(unreadError)); {
	case unread && v.strict:
		return fault.New(fault.Build, "look whether its registry answers, then run the same command again",
			"image %q: what a container of it has at its volumes, or who it runs as, cannot be read: %w", familiar(v.image.Ref), err)
	case unread:
		return nil
	}
	return err
}

// findUser fills User as Docker does it: a number is taken as it is, a name must be in the image.
func (v *viewer) findUser() error {
	spec := v.user
	if spec == "" && v.image.Unknown != "" {
		return nil
	}
	if spec == "" {
		spec = v.image.Config.User
	}
	name, group, _ := strings.Cut(spec, ":")
	uid, isUID := number(name)
	gid, isGID := number(group)
	if isUID {
		v.image.User.UID = &uid
	}
	if isUID && isGID {
		v.image.User.GID = &gid
	}
	if name == "" {
		v.image.User.UID = new(int64) // root
	}
	for _, g := range v.groups {
		if n, ok := number(g); ok {
			v.image.User.Groups = append(v.image.User.Groups, n)
		}
	}
	numbers := (name == "" || isUID) && (group == "" || isGID) && len(v.image.User.Groups) == len(v.groups)
	if numbers || v.image.Unknown != "" {
		return nil // where the gid is left open, the runtime looks it up
	}
	return v.lookUp(spec)
}

func number(s string) (n int64, ok bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil && n >= 0
}

// lookUp finds names in the image's /etc/passwd and /etc/group.
func (v *viewer) lookUp(spec string) error {
	f, err := v.open()
	if err != nil {
		return err
	}
	passwd, err := f.text("/etc/passwd")
	if err != nil {
		return v.failed("/etc/passwd", err)
	}
	group, err := f.text("/etc/group")
	if err != nil {
		return v.failed("/etc/group", err)
	}
	found, err := user.GetExecUser(spec, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return v.noUser(spec)
	}
	uid, gid := int64(found.Uid), int64(found.Gid)
	v.image.User.UID, v.image.User.GID = &uid, &gid
	v.image.User.Groups = nil
	for _, name := range v.groups { // one by one: the library forgets their order
		ids, err := user.GetAdditionalGroups([]string{name}, bytes.NewReader(group))
		if err != nil {
			return v.fault("give its number, or add it in the image's Dockerfile", "group_add: group %q is not in the image %q", name)
		}
		v.image.User.Groups = append(v.image.User.Groups, int64(ids[0]))
	}
	return nil
}

func (v *viewer) noUser(spec string) error {
	if v.user != "" {
		return v.fault("give its number, as user: \"1000:1000\", or add it in the image's Dockerfile", "user %q is not in the image %q", spec)
	}
	return v.fault("set user: \"UID:GID\" in the Compose file, or add it in the image's Dockerfile", "USER %q of the image is not in the image %q", spec)
}

func (v *viewer) fault(hint, format, name string) error {
	return fault.New(fault.ComposeFile, hint, "service %q: "+format, owner(v.key), name, familiar(v.image.Ref))
}

func (v *viewer) failed(name string, err error) error {
	return fmt.Errorf("image %s: %s: %w", familiar(v.image.Ref), name, err)
}

// findContent fills Content for the container's volumes, and Shell when something is to be done for one of them or it was
// asked for.
func (v *viewer) findContent() error {
	targets := v.targets
	if v.readOnly { // elsewhere, what the image declares as VOLUME is writable as the rest of it
		for target := range v.image.Config.Volumes {
			targets = append(targets, path.Clean("/"+target))
		}
	}
	if len(targets) == 0 && !v.shell {
		return nil
	}
	f, err := v.open()
	if err != nil {
		return err
	}
	content := map[string]Content{}
	for _, target := range targets {
		if content[target], err = f.content(target); err != nil {
			return v.failed(target, err)
		}
	}
	wanted := v.shell // or something to copy, or a folder to give away
	for _, c := range content {
		wanted = wanted || c.Filled || c.UID != 0 || c.GID != 0
	}
	if wanted {
		if v.image.Shell, err = f.shell(); err != nil {
			return v.failed("/bin/sh", err)
		}
	}
	v.image.Content = content
	return nil
}

func (f files) content(target string) (Content, error) {
	p, err := f.find(target)
	if err != nil || p.kind == kindAbsent {
		return Content{}, err
	}
	filled, err := p.filled()
	return Content{Exists: true, Filled: filled, UID: p.uid, GID: p.gid, Mode: p.mode}, err
}

// shell is true when the image has what a container needs that copies its own files.
func (f files) shell() (bool, error) {
	sh, err := f.program("/bin/sh")
	if err != nil || !sh {
		return false, err
	}
	for _, name := range []string{"/bin/cp", "/usr/bin/cp"} {
		if ok, err := f.program(name); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}
