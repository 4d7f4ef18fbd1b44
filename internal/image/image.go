// Package image makes the images of a project: BuildKit for a Dockerfile, the host's Go for a folder with only a go.mod.
// Images go to a sink: the node's own store here. It knows nothing of Kubernetes objects.
package image

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image that is in the sink.
type Image struct {
	Ref    string              // full name with tag, as docker.io/library/shop-web:1a2b3c4-5d6e7f8a
	Digest string              // sha256:… of the manifest
	Config ocispec.ImageConfig // EXPOSE, USER, CMD … as the image says
	Built  bool                // false: it was there already, nothing was built
}
