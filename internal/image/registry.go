package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	askTimeout  = 2 * time.Second  // for all that one dry run asks of registries
	nameTimeout = 20 * time.Second // for all that is asked about images which are not made here, when these are for another cluster
	maxLayers   = 32 << 20         // bytes that a dry run reads of the layers of one image, as they are sent
)

// patience is how long registries may be asked, in all, about what is not made here.
func (o Options) patience() time.Duration {
	if o.DryRun {
		return askTimeout
	}
	return nameTimeout
}

// lookingUp is ctx, or in a dry run one that ends soon.
func (rs *resolver) lookingUp(ctx context.Context) context.Context {
	if rs.options.DryRun {
		return rs.brief
	}
	return ctx
}

// ask fills i by what its registry has. Where that cannot be had, i says why.
func (rs *resolver) ask(i *Image) {
	ref, err := name.ParseReference(i.Ref, name.WeakValidation)
	if err != nil {
		i.Unknown = "it is not in the node's store, and its name is none for a registry"
		return
	}
	s, err := rs.hub.lookUp(rs.brief, i.Ref, []string{hostPlatform()})
	if err != nil {
		i.Unknown = "it is not in the node's store, and " + whyNot(shownHost(ref.Context()), err)
		return
	}
	rs.fill(i, s)
}

// fill gives i what is at a registry.
func (rs *resolver) fill(i *Image, s *seen) {
	i.Config, i.Health = s.config.Config.ImageConfig, s.config.health()
	i.Digest, i.Pulled = s.digest, true
	rs.library.known(i.Ref, rs.opener(s))
}

// lookUp is what a registry, or a mirror of it, has under a full name.
func (h *hub) lookUp(ctx context.Context, ref string, wanted []string) (*seen, error) {
	open := func(ctx context.Context) (artifact, error) {
		d, err := h.get(ctx, ref)
		if err != nil {
			return nil, err
		}
		return artifactOf(d)
	}
	a, err := open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := seenOf(name.Tag{}, a, wanted)
	if err != nil {
		return nil, err
	}
	s.open = open
	return s, nil
}

func remoteConfig(img v1.Image) (c imageConfig, err error) {
	blob, err := img.RawConfigFile()
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(blob, &c)
}

// whyNot is what kept a registry from telling, in a few words.
func whyNot(host string, err error) string {
	if t, ok := errors.AsType[*transport.Error](err); ok {
		switch t.StatusCode {
		case http.StatusNotFound:
			return host + " does not have it"
		case http.StatusUnauthorized, http.StatusForbidden:
			return host + " does not have it or wants a login"
		}
		return fmt.Sprintf("%s answers with status %d", host, t.StatusCode)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return host + " did not answer in time"
	}
	return host + " cannot be reached"
}

// opener opens the layers of an image that is at a registry, or has gone there. Each is read when it is first asked. A dry run
// reads no more than a little of them.
func (rs *resolver) opener(s *seen) opener {
	return func(ctx context.Context) (files, error) {
		img := s.image
		if s.open != nil && !rs.options.DryRun {
			a, err := s.open(ctx)
			if err == nil {
				img, _, err = imageFor(a, s.wanted)
			}
			if err != nil {
				return nil, unreadError{err}
			}
		}
		return rs.layersOf(img)
	}
}

func (rs *resolver) layersOf(img v1.Image) (files, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, unreadError{err}
	}
	var out files
	left := &atomic.Int64{}
	left.Store(math.MaxInt64)
	if rs.options.DryRun {
		left.Store(maxLayers)
	}
	for _, l := range slices.Backward(layers) {
		out = append(out, remoteLayer(sync.OnceValues(func() (*tarLayer, error) { return fetchLayer(l, left, layerCache(rs.options.LayerCache)) })))
	}
	return out, nil
}

// fetchLayer reads a layer, unless it is bigger than what is left.
func fetchLayer(l v1.Layer, left *atomic.Int64, cache layerCache) (*tarLayer, error) {
	h, err := l.Digest()
	if err != nil {
		return nil, unreadError{err}
	}
	if t := cache.load(h); t != nil {
		return t, nil
	}
	size, err := l.Size()
	if err != nil {
		return nil, unreadError{err}
	}
	if left.Add(-size) < 0 {
		return nil, unreadError{errTooBig}
	}
	r, err := l.Uncompressed()
	if err != nil {
		return nil, unreadError{err}
	}
	defer r.Close()
	t, err := readTar(r)
	if err != nil {
		return nil, unreadError{err}
	}
	cache.save(h, t)
	return t, nil
}

type remoteLayer func() (*tarLayer, error)

var _ layer = remoteLayer(nil)

func (r remoteLayer) lookup(name string) (node, error) {
	t, err := r()
	if err != nil {
		return node{}, err
	}
	return t.lookup(name)
}

func (r remoteLayer) names(folder string) ([]string, error) {
	t, err := r()
	if err != nil {
		return nil, err
	}
	return t.names(folder)
}

func (r remoteLayer) read(name string, limit int64) ([]byte, error) {
	t, err := r()
	if err != nil {
		return nil, err
	}
	return t.read(name, limit)
}
