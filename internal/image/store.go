package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/fault"
)

const (
	namespace   = "k8s.io" // the CRI's
	snapshotter = "overlayfs"
	dialTimeout = 10 * time.Second
)

// Store is a node's image store and its builder, as paths of Unix sockets.
type Store struct {
	Containerd string
	Builder    string
	Registries string // a folder where the node looks for mirrors of registries; "": it has none

	// Start makes the store answer; it is called when that is needed for the first time. Nil: it answers already.
	Start func(context.Context) error
}

// Stored is one name in the store.
type Stored struct {
	Name    string    // as users write it
	Ref     string    // in full, as the CRI knows it
	Digest  string    // of the manifest or index it names
	Size    int64     // bytes of its layers and config in the content store
	Created time.Time // when it came into the store
}

// List is every image with a name, sorted by name.
func (s Store) List(ctx context.Context) ([]Stored, error) {
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer cl.close()
	all, err := cl.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	var out []Stored
	for _, i := range all {
		if strings.HasPrefix(i.Name, "sha256:") {
			continue // the CRI's own entry for an image that has a name as well
		}
		size, err := i.Size(ctx, cl.ContentStore(), cl.platform)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("image %s: %w", familiar(i.Name), err)
		}
		out = append(out, Stored{
			Name: familiar(i.Name), Ref: i.Name, Digest: i.Target.Digest.String(), Size: size, Created: i.CreatedAt,
		})
	}
	slices.SortFunc(out, func(a, b Stored) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Load puts the images of an archive into the store and unpacks them, and returns their names as users write them,
// sorted. The archive is what `docker save` writes or an OCI layout, as tar, plain or compressed.
func (s Store) Load(ctx context.Context, archive io.Reader) ([]string, error) {
	ctx = quiet(ctx)
	cl, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer cl.close()
	r, err := compression.DecompressStream(archive)
	if err != nil {
		return nil, fault.New(fault.Other, loadHint, "image archive: %w", err)
	}
	defer r.Close()
	// A name that is no name (an OCI layout may carry a mere tag) is dropped here and missed below.
	loaded, err := cl.Import(ctx, r, containerd.WithImageLabels(loadedLabels()), containerd.WithImageRefTranslator(func(name string) string {
		ref, _ := normalize(name)
		return ref
	}))
	if err != nil {
		return nil, fault.New(fault.Other, loadHint, "image archive: %w", err)
	}
	if len(loaded) == 0 {
		return nil, fault.New(fault.Other, loadHint, "image archive: no image in it has a name")
	}
	var names []string
	for _, i := range loaded {
		if err := containerd.NewImageWithPlatform(cl.Client, i, cl.platform).Unpack(ctx, snapshotter); err != nil {
			return nil, fmt.Errorf("image %s: unpack: %w", familiar(i.Name), err)
		}
		names = append(names, familiar(i.Name))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

const loadHint = "make the archive with `docker save NAME:TAG -o FILE` or an OCI tool that writes the full image name"

// lookup is the image of that full name, nil when the store has none.
func (cl *client) lookup(ctx context.Context, ref string) (*Image, error) {
	if cl.Client == nil {
		return nil, nil
	}
	i, err := cl.ImageService().Get(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	return cl.describe(ctx, i)
}

// describe reads an image's config; nil when the content of it is not all there (a pull that was cut off).
func (cl *client) describe(ctx context.Context, i images.Image) (*Image, error) {
	desc, err := i.Config(ctx, cl.ContentStore(), cl.platform)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(i.Name), err)
	}
	blob, err := content.ReadBlob(ctx, cl.ContentStore(), desc)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(i.Name), err)
	}
	var config imageConfig
	if err := json.Unmarshal(blob, &config); err != nil {
		return nil, fmt.Errorf("image %s: config: %w", familiar(i.Name), err)
	}
	return &Image{
		Ref: i.Name, Digest: i.Target.Digest.String(), Base: i.Labels[baseLabel], Config: config.Config.ImageConfig, Health: config.health(),
		// The builder labels what it makes as if it had come from the registry of its name.
		Pulled: i.Labels[inputsLabel] == "" && cl.pulled(ctx, i.Name, i.Target.Digest),
	}, nil
}

// tag gives an image one more name.
func (cl *client) tag(ctx context.Context, i images.Image, ref string) error {
	i = images.Image{Name: ref, Target: i.Target, Labels: i.Labels}
	_, err := cl.ImageService().Create(ctx, i)
	if errdefs.IsAlreadyExists(err) {
		_, err = cl.ImageService().Update(ctx, i)
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	return nil
}

var errNoStore = errors.New("the node's image store does not answer")

// descriptor is of a manifest or an index of the content store, by its digest.
func (cl *client) descriptor(ctx context.Context, text string) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{Digest: digest.Digest(text)}
	if err := d.Digest.Validate(); err != nil {
		return d, err
	}
	info, err := cl.ContentStore().Info(ctx, d.Digest)
	if err != nil {
		return d, err
	}
	d.Size = info.Size
	blob, err := content.ReadBlob(ctx, cl.ContentStore(), d)
	if err != nil {
		return d, err
	}
	var kind struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	err = json.Unmarshal(blob, &kind)
	switch d.MediaType = kind.MediaType; {
	case d.MediaType != "":
	case len(kind.Manifests) > 0:
		d.MediaType = ocispec.MediaTypeImageIndex
	default:
		d.MediaType = ocispec.MediaTypeImageManifest
	}
	return d, err
}
