package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AddLayer makes an image of base and one more layer, an uncompressed tar, and unpacks it. Everything else is as in base.
// Its name is that of base with a hash of the layer; when it is there already, nothing is made.
func (s Store) AddLayer(ctx context.Context, base Image, layer io.ReadSeeker) (Image, error) {
	ctx = quiet(ctx)
	digester := digest.Canonical.Digester()
	size, err := io.Copy(digester.Hash(), layer)
	if err != nil {
		return Image{}, err
	}
	sum := digester.Digest()
	out := base
	out.Ref = layered(base.Ref) + sum.Encoded()[:hashDigits]
	cl, err := s.dial()
	if err != nil {
		return Image{}, err
	}
	defer cl.close()
	if have, err := cl.lookup(ctx, out.Ref); err != nil || have != nil {
		if have != nil {
			out.Digest, out.Built = have.Digest, false
		}
		return out, err
	}
	ctx, done, err := cl.WithLease(ctx) // what is written has no name until the end
	if err != nil {
		return Image{}, fmt.Errorf("image store: %w", err)
	}
	defer func() { _ = done(ctx) }() // it ends by itself too
	target, err := cl.extend(ctx, base.Ref, layer, ocispec.Descriptor{Digest: sum, Size: size})
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", familiar(out.Ref), err)
	}
	made, err := cl.ImageService().Create(ctx, images.Image{Name: out.Ref, Target: target})
	if errdefs.IsAlreadyExists(err) {
		made, err = cl.ImageService().Get(ctx, out.Ref)
	}
	if err == nil {
		err = containerd.NewImageWithPlatform(cl.Client, made, cl.platform).Unpack(ctx, snapshotter)
	}
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", familiar(out.Ref), err)
	}
	out.Digest, out.Built = target.Digest.String(), true
	return out, nil
}

// layered is the name of an image with a layer, up to its hash. A digest in the name is not the new image's.
func layered(ref string) string {
	name, _, pinned := strings.Cut(ref, "@")
	if pinned && strings.LastIndexByte(name, ':') <= strings.LastIndexByte(name, '/') {
		return name + ":sync-"
	}
	return name + "-sync-"
}

// extend writes the layer, and a config and a manifest that have it behind those of the image, and returns the manifest.
func (cl *client) extend(ctx context.Context, ref string, layer io.ReadSeeker, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	i, err := cl.ImageService().Get(ctx, ref)
	if err != nil {
		return none, err
	}
	store := cl.ContentStore()
	manifest, err := images.Manifest(ctx, store, i.Target, cl.platform)
	if err != nil {
		return none, err
	}
	config, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return none, err
	}
	if config, err = addDiff(config, desc.Digest); err != nil {
		return none, err
	}
	desc.MediaType = ocispec.MediaTypeImageLayer
	if images.IsDockerType(manifest.MediaType) || images.IsDockerType(manifest.Config.MediaType) {
		desc.MediaType = images.MediaTypeDockerSchema2Layer
	}
	manifest.Layers = append(manifest.Layers, desc)
	manifest.Config.Digest, manifest.Config.Size = digest.FromBytes(config), int64(len(config))
	text, err := json.Marshal(manifest)
	if err != nil {
		return none, err
	}
	target := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	if target.MediaType == "" {
		target.MediaType = ocispec.MediaTypeImageManifest
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return none, err
	}
	err = content.WriteBlob(ctx, store, "layer-"+desc.Digest.String(), layer, desc)
	if err == nil {
		// The snapshot is found by the config, and lives as long as it.
		err = content.WriteBlob(ctx, store, "config-"+manifest.Config.Digest.String(), bytes.NewReader(config), manifest.Config)
	}
	if err == nil {
		err = content.WriteBlob(ctx, store, "manifest-"+target.Digest.String(), bytes.NewReader(text), target, content.WithLabels(children(manifest)))
	}
	return target, err
}

// children are the labels by which the store's garbage collector finds what a manifest is made of.
func children(m ocispec.Manifest) map[string]string {
	labels := map[string]string{"containerd.io/gc.ref.content.config": m.Config.Digest.String()}
	for n, l := range m.Layers {
		labels["containerd.io/gc.ref.content.l."+strconv.Itoa(n)] = l.Digest.String()
	}
	return labels
}

// addDiff puts a layer into an image's config and leaves everything else as it is, also what we do not know.
func addDiff(config []byte, layer digest.Digest) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, err
	}
	var fs ocispec.RootFS
	if err := json.Unmarshal(all["rootfs"], &fs); err != nil {
		return nil, err
	}
	fs.DiffIDs = append(fs.DiffIDs, layer)
	var history []ocispec.History
	if all["history"] != nil {
		if err := json.Unmarshal(all["history"], &history); err != nil {
			return nil, err
		}
	}
	history = append(history, ocispec.History{CreatedBy: "perch watch", Comment: "synced files"})
	var err, herr error
	all["rootfs"], err = json.Marshal(fs)
	all["history"], herr = json.Marshal(history)
	if err := errors.Join(err, herr); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}
