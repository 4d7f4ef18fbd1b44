package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// seen is what a registry has under a tag, or gets under it.
type seen struct {
	tag         name.Tag
	digest      string
	annotations map[string]string
	inputs      string // of the build, as its annotation says
	base        string // NAME@sha256:…, likewise
	platforms   []string
	config      imageConfig // of the first platform that is wanted
	image       ggcr.Image  // likewise
	wanted      []string
	top         artifact
	open        func(context.Context) (artifact, error) // anew, when what top was read with has ended; nil: it reads from memory
	pushed      bool                                    // by this run
}

// seen is what the registry has under the tag; nil when it has nothing. One that would have to be pushed to may answer 403
// before there is anything, so that this says no more than that.
func (h *hub) seen(ctx context.Context, tag name.Tag, wanted []string) (*seen, error) {
	open := func(ctx context.Context) (artifact, error) {
		d, err := remote.Get(tag, h.options(ctx, passing)...)
		if err != nil {
			return nil, err
		}
		return artifactOf(d)
	}
	a, err := open(ctx)
	if t, ok := errors.AsType[*transport.Error](err); ok && (t.StatusCode == http.StatusNotFound || t.StatusCode == http.StatusForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := seenOf(tag, a, wanted)
	if err != nil {
		return nil, err
	}
	s.open = open
	return s, nil
}

func artifactOf(d *remote.Descriptor) (artifact, error) {
	if d.MediaType.IsIndex() {
		return d.ImageIndex()
	}
	return d.Image()
}

// seenOf reads what is known of an artifact from itself.
func seenOf(tag name.Tag, a artifact, wanted []string) (*seen, error) {
	digest, err := a.Digest()
	if err != nil {
		return nil, err
	}
	raw, err := a.RawManifest()
	if err != nil {
		return nil, err
	}
	var top struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, err
	}
	s := &seen{tag: tag, digest: digest.String(), annotations: top.Annotations, inputs: top.Annotations[inputsLabel], top: a, wanted: wanted}
	if from := top.Annotations[ocispec.AnnotationBaseImageName]; from != "" {
		s.base = from + "@" + top.Annotations[ocispec.AnnotationBaseImageDigest]
	}
	if s.image, s.platforms, err = imageFor(a, wanted); err != nil {
		return nil, err
	}
	s.config, err = remoteConfig(s.image)
	return s, err
}

// covers is true when there is an image for each of the platforms.
func (s seen) covers(wanted []string) bool {
	return len(uncovered(s.platforms, wanted)) == 0
}

// uncovered are those of the wanted platforms for which there is none.
func uncovered(have, wanted []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(w string) bool {
		p, err := platforms.Parse(w)
		return err == nil && slices.ContainsFunc(have, func(text string) bool {
			h, err := platforms.Parse(text)
			return err == nil && platforms.Only(p).Match(h)
		})
	})
}

// imageFor is the image of the first of the wanted platforms, and all platforms that there are. Without a match it is any of
// them.
func imageFor(a artifact, wanted []string) (ggcr.Image, []string, error) {
	switch a := a.(type) {
	case ggcr.ImageIndex:
		return imageIn(a, wanted)
	case ggcr.Image:
		c, err := a.ConfigFile()
		if err != nil {
			return nil, nil, err
		}
		return a, []string{formatted(ggcr.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant})}, nil
	}
	return nil, nil, fmt.Errorf("%T is no image", a)
}

func imageIn(index ggcr.ImageIndex, wanted []string) (ggcr.Image, []string, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, nil, err
	}
	var all []string
	var chosen *ggcr.Hash
	for _, d := range m.Manifests {
		if !d.MediaType.IsImage() || d.Platform == nil || d.Platform.OS != "linux" { // an attestation's is unknown
			continue
		}
		text := formatted(*d.Platform)
		all = append(all, text)
		if chosen == nil || len(wanted) > 0 && len(uncovered([]string{text}, wanted[:1])) == 0 {
			chosen = &d.Digest
		}
	}
	if chosen == nil {
		return nil, nil, errors.New("it has no image for Linux")
	}
	img, err := index.Image(*chosen)
	return img, all, err
}

func formatted(p ggcr.Platform) string {
	return platforms.Format(platforms.Normalize(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}))
}
