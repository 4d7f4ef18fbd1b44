package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	askTimeout = 2 * time.Second // for all that one dry run asks of registries
	maxLayers  = 32 << 20        // bytes that are read of the layers of one image, as they are sent
)

// ask fills i by what its registry has. Where that cannot be had, i says why.
func (l *library) ask(ctx context.Context, i *Image) {
	ref, err := name.ParseReference(i.Ref, name.WeakValidation)
	if err != nil {
		i.Unknown = "it is not in the node's store, and its name is none for a registry"
		return
	}
	img, err := remote.Image(ref,
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	var config imageConfig
	if err == nil {
		config, err = remoteConfig(img)
	}
	if err != nil {
		host := ref.Context().RegistryStr()
		if defaultHost(host) || host == name.DefaultRegistry {
			host = "docker.io"
		}
		i.Unknown = "it is not in the node's store, and " + whyNot(host, err)
		return
	}
	i.Config, i.Health = config.Config.ImageConfig, config.health()
	l.known(i.Ref, func() (files, error) { return remoteFiles(img) })
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

// remoteFiles is the layers of an image that is at a registry. Each is fetched when it is first asked.
func remoteFiles(img v1.Image) (files, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, unreadError{err}
	}
	var out files
	left := &atomic.Int64{}
	left.Store(maxLayers)
	for _, l := range slices.Backward(layers) {
		out = append(out, remoteLayer(sync.OnceValues(func() (*tarLayer, error) { return fetchLayer(l, left) })))
	}
	return out, nil
}

// fetch reads a layer, unless it is bigger than what is left.
func fetchLayer(l v1.Layer, left *atomic.Int64) (*tarLayer, error) {
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
