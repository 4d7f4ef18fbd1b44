package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/perch-k8s/perch/internal/fault"
)

const (
	defaultDockerfile = "Dockerfile"
	ignoreFile        = ".dockerignore"
	servicePrefix     = "service:"
)

// recipe is one build with everything that decides about its result, found on disk. Recipes with the same identity
// are one build.
type recipe struct {
	owner      string            // the first service that wants it, for messages
	project    string            // the project's folder
	repository string            // what the image is called, without its tag
	alias      string            // a name the Compose file gives to the image, tag included; "": none
	config     types.BuildConfig // its context is a folder, or an address that the builder fetches
	platforms  []string          // as linux/amd64, sorted; at least one
	hashed     string            // the platform that the tag speaks of; "" for a registry, where one tag may have several
	golang     bool              // no Dockerfile, but a go.mod: the host's Go builds it
	main       string            // then: the package, as ./cmd/web
	dockerfile string            // path; "" with dockerfile_inline, and where the builder fetches the context
	ignore     []string
	contexts   []namedContext
	secrets    []types.SecretConfig // in the order of config.Secrets
	missing    error                // why it cannot be built: a folder or Dockerfile that is not there. A dry run does without
}

// missingError is a fault of what should be on disk and is not.
type missingError struct{ error }

func (m missingError) Unwrap() error { return m.error }

// namedContext is one entry of additional_contexts.
type namedContext struct {
	name   string
	dir    string // a folder, or
	image  string // what the builder fetches: an address, or an image's name behind docker-image://, or
	owner  string // the service whose image it is
	ignore []string
}

// newRecipe checks what w's build needs to be on disk. With a missingError the recipe is good for a dry run.
func newRecipe(w want, p *types.Project, to Registry) (*recipe, error) {
	b := *w.build
	r := &recipe{owner: owner(w.key), project: p.WorkingDir, config: b}
	if err := r.name(w, p); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := r.choosePlatforms(to); err != nil {
		return nil, err
	}
	for _, s := range b.Secrets {
		def, ok := p.Secrets[s.Source]
		if !ok {
			return nil, r.fault("define it under the top-level key secrets", "build secret %q is not defined", s.Source)
		}
		r.secrets = append(r.secrets, types.SecretConfig(def))
	}
	if r.missing = r.find(); r.missing != nil && !errors.As(r.missing, new(missingError)) {
		return nil, r.missing
	}
	return r, r.missing
}

// find looks for the recipe's folders and Dockerfile.
func (r *recipe) find() error {
	if fetched(r.config.Context) {
		return r.findContexts()
	}
	if info, err := os.Stat(r.config.Context); err != nil || !info.IsDir() {
		return r.absent("check build.context in the Compose file", "the build context %s is not a folder", r.config.Context)
	}
	if err := r.findDockerfile(); err != nil {
		return err
	}
	return r.findContexts()
}

// name gives the image the name Compose would: image: when there is one, else PROJECT-SERVICE.
func (r *recipe) name(w want, p *types.Project) error {
	name := w.name
	if name == "" {
		name = strings.ToLower(p.Name + "-" + r.owner)
	}
	full, err := normalize(name)
	if err != nil {
		return err
	}
	r.repository, r.alias = splitName(full)
	return nil
}

func (r *recipe) findDockerfile() error {
	if r.config.DockerfileInline != "" {
		return r.readIgnore()
	}
	name := r.config.Dockerfile
	if name == "" {
		name = defaultDockerfile
	}
	r.dockerfile = name
	if !filepath.IsAbs(name) {
		r.dockerfile = filepath.Join(r.config.Context, name)
	}
	_, err := os.Stat(r.dockerfile)
	if err == nil {
		return r.readIgnore()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return r.fault("", "%w", err)
	}
	if _, err := os.Stat(filepath.Join(r.config.Context, "go.mod")); err == nil && name == defaultDockerfile {
		if err := r.useGo(); err != nil {
			return err
		}
		return r.readIgnore()
	}
	return r.absent("write one, or set build.dockerfile in the Compose file; a Go module needs none when its go.mod is in the context",
		"no Dockerfile at %s", r.dockerfile)
}

// readIgnore finds the ignore file as BuildKit does: DOCKERFILE.dockerignore before the context's own.
func (r *recipe) readIgnore() (err error) {
	if r.dockerfile != "" {
		if r.ignore, err = ignorePatterns(r.dockerfile + ignoreFile); err != nil || r.ignore != nil {
			return err
		}
	}
	r.ignore, err = ignorePatterns(filepath.Join(r.config.Context, ignoreFile))
	return err
}

// ignorePatterns is nil when there is no such file.
func ignorePatterns(name string) ([]string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Build, "", "%w", err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, fault.New(fault.Build, "", "%s: %w", name, err)
	}
	return append([]string{}, patterns...), nil
}

func (r *recipe) findContexts() error {
	for _, name := range slices.Sorted(maps.Keys(r.config.AdditionalContexts)) {
		value := r.config.AdditionalContexts[name]
		c := namedContext{name: name}
		switch scheme, rest, found := strings.Cut(value, ":"); {
		case strings.HasPrefix(value, servicePrefix):
			c.owner = rest
		case found && scheme == "docker-image" || fetched(value):
			c.image = value
		case found && strings.HasPrefix(rest, "//"):
			return r.fault("give a folder, docker-image://NAME, service:NAME or a Git or HTTP address", "additional context %q: %s is nothing that the node's builder fetches", name, value)
		default:
			c.dir = value
			if info, err := os.Stat(value); err != nil || !info.IsDir() {
				return r.absent("check build.additional_contexts in the Compose file", "additional context %q: %s is not a folder", name, value)
			}
			patterns, err := ignorePatterns(filepath.Join(value, ignoreFile))
			if err != nil {
				return err
			}
			c.ignore = patterns
		}
		r.contexts = append(r.contexts, c)
	}
	return nil
}

// settings is what decides about the result besides files, as bytes that are the same for the same settings. Names
// of folders are not in it: their content is what counts.
func (r *recipe) settings() []byte {
	c := r.config
	if !fetched(c.Context) {
		c.Context, c.Dockerfile = "", ""
	}
	c.AdditionalContexts = nil
	for _, n := range r.contexts {
		if n.dir == "" {
			if c.AdditionalContexts == nil {
				c.AdditionalContexts = types.Mapping{}
			}
			c.AdditionalContexts[n.name] = n.image + n.owner
		}
	}
	// None of these changes what is in the image.
	c.Secrets, c.SSH, c.Tags, c.CacheFrom, c.CacheTo = nil, nil, nil, nil, nil
	c.NoCache, c.NoCacheFilter, c.Pull, c.Platforms, c.Isolation = false, nil, false, nil, ""
	if c.Network == "default" {
		c.Network = ""
	}
	if isOff(c.Provenance) {
		c.Provenance = ""
	}
	if isOff(c.SBOM) {
		c.SBOM = ""
	}
	b, err := json.Marshal(c)
	if err != nil { // maps, strings and numbers
		panic(err)
	}
	return b
}

// plain is true when nothing but files decides about the result. An argument without a value is one that was left
// open, as in VERSION: ${VERSION:-}.
func (r *recipe) plain() bool {
	if len(r.contexts) > 0 {
		return false
	}
	filled := *r
	filled.config.Args = maps.Clone(r.config.Args)
	maps.DeleteFunc(filled.config.Args, func(_ string, v *string) bool { return v == nil || *v == "" })
	return string(filled.settings()) == string((&recipe{}).settings())
}

// identity tells recipes apart before anything is read: same identity, same build.
func (r *recipe) identity() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q\n%s\n", r.config.Context, r.dockerfile, r.platform(), r.main, r.settings())
	for _, c := range r.contexts {
		fmt.Fprintf(h, "%q %q\n", c.name, c.dir)
	}
	for i, s := range r.config.Secrets {
		fmt.Fprintf(h, "%q %q %q %q\n", s.Target, s.Source, r.secrets[i].File, r.secrets[i].Environment)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (r *recipe) fault(hint, format string, args ...any) error {
	return fault.New(fault.Build, hint, "service %q: %w", r.owner, fmt.Errorf(format, args...))
}

// absent is a fault of what a dry run can do without.
func (r *recipe) absent(hint, format string, args ...any) error {
	return missingError{r.fault(hint, format, args...)}
}

// platform is all platforms as BuildKit takes them: linux/amd64,linux/arm64.
func (r *recipe) platform() string { return strings.Join(r.platforms, ",") }

// hostPlatform is the node's: it runs on this machine.
func hostPlatform() string { return "linux/" + runtime.GOARCH }
