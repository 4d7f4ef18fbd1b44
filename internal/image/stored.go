package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// artifact is what can be pushed: an image, or an index of the images of several platforms.
type artifact interface {
	remote.Taggable
	partial.WithRawManifest
	Digest() (ggcr.Hash, error)
}

// blobs reads what a content store has, for one push: go-containerregistry's types take no context.
type blobs struct {
	ctx   context.Context
	store content.Store
	host  string // of the registry that it goes to
}

// sourceLabel is containerd's: it is on what came from a registry, or went there, with that one's repositories.
const sourceLabel = "containerd.io/distribution.source."

// stored is what the store has under a name.
func (cl *client) stored(ctx context.Context, ref, host string) (artifact, error) {
	i, err := cl.ImageService().Get(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	a, err := blobs{ctx, cl.ContentStore(), host}.artifact(i.Target)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	return a, nil
}

func (b blobs) artifact(d ocispec.Descriptor) (artifact, error) {
	if images.IsIndexType(d.MediaType) {
		return b.index(d)
	}
	return b.image(d)
}

// storedIndex is an index of the store.
type storedIndex struct {
	blobs
	desc ocispec.Descriptor
	raw  []byte
}

var _ ggcr.ImageIndex = (*storedIndex)(nil)

func (b blobs) index(d ocispec.Descriptor) (*storedIndex, error) {
	raw, err := content.ReadBlob(b.ctx, b.store, d)
	return &storedIndex{b, d, raw}, err
}

func (i *storedIndex) MediaType() (types.MediaType, error) {
	return types.MediaType(i.desc.MediaType), nil
}
func (i *storedIndex) Digest() (ggcr.Hash, error) { return ggcr.NewHash(i.desc.Digest.String()) }
func (i *storedIndex) Size() (int64, error)       { return i.desc.Size, nil }
func (i *storedIndex) RawManifest() ([]byte, error) {
	return i.raw, nil
}

func (i *storedIndex) IndexManifest() (*ggcr.IndexManifest, error) {
	m := &ggcr.IndexManifest{}
	return m, json.Unmarshal(i.raw, m)
}

func (i *storedIndex) Image(h ggcr.Hash) (ggcr.Image, error) {
	d, err := i.child(h)
	if err != nil {
		return nil, err
	}
	return i.image(d)
}

func (i *storedIndex) ImageIndex(h ggcr.Hash) (ggcr.ImageIndex, error) {
	d, err := i.child(h)
	if err != nil {
		return nil, err
	}
	return i.index(d)
}

func (i *storedIndex) child(h ggcr.Hash) (ocispec.Descriptor, error) {
	var m ocispec.Index
	if err := json.Unmarshal(i.raw, &m); err != nil {
		return ocispec.Descriptor{}, err
	}
	n := slices.IndexFunc(m.Manifests, func(d ocispec.Descriptor) bool { return d.Digest.String() == h.String() })
	if n < 0 {
		return ocispec.Descriptor{}, fmt.Errorf("index %s: there is no %s in it", i.desc.Digest, h)
	}
	return m.Manifests[n], nil
}

// storedManifest is what an image is made of, as far as the store has to tell.
type storedManifest struct {
	blobs
	desc   ocispec.Descriptor
	raw    []byte
	parsed ocispec.Manifest
}

var _ partial.CompressedImageCore = (*storedManifest)(nil)

// storedImage is an image of the store whose layers say where the registry has them already.
type storedImage struct {
	ggcr.Image
	core *storedManifest
}

func (b blobs) image(d ocispec.Descriptor) (ggcr.Image, error) {
	raw, err := content.ReadBlob(b.ctx, b.store, d)
	if err != nil {
		return nil, err
	}
	m := &storedManifest{blobs: b, desc: d, raw: raw}
	if err := json.Unmarshal(raw, &m.parsed); err != nil {
		return nil, err
	}
	img, err := partial.CompressedToImage(m)
	return &storedImage{img, m}, err
}

func (m *storedManifest) MediaType() (types.MediaType, error) {
	return types.MediaType(m.desc.MediaType), nil
}
func (m *storedManifest) RawManifest() ([]byte, error) { return m.raw, nil }
func (m *storedManifest) RawConfigFile() ([]byte, error) {
	return content.ReadBlob(m.ctx, m.store, m.parsed.Config)
}

func (m *storedManifest) LayerByDigest(h ggcr.Hash) (partial.CompressedLayer, error) {
	all := append(slices.Clone(m.parsed.Layers), m.parsed.Config)
	n := slices.IndexFunc(all, func(d ocispec.Descriptor) bool { return d.Digest.String() == h.String() })
	if n < 0 {
		return nil, fmt.Errorf("manifest %s: there is no %s in it", m.desc.Digest, h)
	}
	return storedBlob{m.blobs, all[n]}, nil
}

func (i *storedImage) LayerByDigest(h ggcr.Hash) (ggcr.Layer, error) {
	l, err := i.Image.LayerByDigest(h)
	return i.core.mountable(l, err)
}

func (i *storedImage) LayerByDiffID(h ggcr.Hash) (ggcr.Layer, error) {
	l, err := i.Image.LayerByDiffID(h)
	return i.core.mountable(l, err)
}

func (i *storedImage) Layers() ([]ggcr.Layer, error) {
	layers, err := i.Image.Layers()
	for n := range layers {
		if layers[n], err = i.core.mountable(layers[n], err); err != nil {
			return nil, err
		}
	}
	return layers, err
}

// mountable is l with the repository of the registry that it came from: it is then not sent again.
func (b blobs) mountable(l ggcr.Layer, err error) (ggcr.Layer, error) {
	if err != nil {
		return nil, err
	}
	h, err := l.Digest()
	if err != nil {
		return nil, err
	}
	info, err := b.store.Info(b.ctx, digest.Digest(h.String()))
	if err != nil {
		return nil, err
	}
	from, _, _ := strings.Cut(info.Labels[sourceLabel+b.host], ",")
	if from == "" {
		return l, nil
	}
	ref, err := name.ParseReference(b.host + "/" + from + "@" + h.String())
	if err != nil {
		return l, nil //nolint:nilerr // a label of somebody else's: the layer is sent
	}
	return &remote.MountableLayer{Layer: l, Reference: ref}, nil
}

// sent notes that the registry has these layers in the repository, so that the next push into another one need not send
// them. It is only a hint, so that it does not matter when the store has lost them.
func (b blobs) sent(a artifact, repository string) {
	img, ok := a.(ggcr.Image)
	if !ok {
		return
	}
	m, err := img.Manifest()
	if err != nil {
		return
	}
	label := sourceLabel + b.host
	for _, l := range m.Layers {
		info := content.Info{Digest: digest.Digest(l.Digest.String())}
		if have, err := b.store.Info(b.ctx, info.Digest); err != nil || have.Labels[label] != "" {
			continue
		}
		info.Labels = map[string]string{label: repository}
		_, _ = b.store.Update(b.ctx, info, "labels."+label)
	}
}

// storedBlob is a layer of the store, as it lies there.
type storedBlob struct {
	blobs
	desc ocispec.Descriptor
}

var _ partial.CompressedLayer = storedBlob{}

func (b storedBlob) Digest() (ggcr.Hash, error) { return ggcr.NewHash(b.desc.Digest.String()) }
func (b storedBlob) Size() (int64, error)       { return b.desc.Size, nil }
func (b storedBlob) MediaType() (types.MediaType, error) {
	return types.MediaType(b.desc.MediaType), nil
}

func (b storedBlob) Compressed() (io.ReadCloser, error) {
	at, err := b.store.ReaderAt(b.ctx, b.desc)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{content.NewReader(at), at}, nil
}

// indexOf is one index of the images of several platforms, or the image itself when there is one.
func indexOf(made []ggcr.Image) (artifact, error) {
	if len(made) == 1 {
		return made[0], nil
	}
	var add []mutate.IndexAddendum
	for _, img := range made {
		c, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		add = append(add, mutate.IndexAddendum{Add: img, Descriptor: ggcr.Descriptor{
			Platform: &ggcr.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant},
		}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), add...), nil
}

// annotated is a with these annotations on its topmost manifest: those below stay what attestations speak of.
func annotated(a artifact, annotations map[string]string) (artifact, error) {
	out, ok := mutate.Annotations(a, annotations).(artifact)
	if !ok {
		return nil, fmt.Errorf("annotations: %T is no artifact", a)
	}
	return out, nil
}
