// Package image makes the images of a project: BuildKit for a Dockerfile, the host's Go for a folder with only a go.mod.
// Images go to a sink: the node's own store here. It knows nothing of Kubernetes objects.
//
// It is the client side: the store and the builder are Unix sockets, and the types of containerd and BuildKit do not
// leave this package. An image that a project builds is named after what goes into it (see tag.go), so that the
// same input has the same name and is not built again.
package image

import (
	"github.com/compose-spec/compose-go/v2/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image that is in the sink.
type Image struct {
	Ref    string              // full name with tag, as the CRI knows it: DOMAIN/library/shop-web:1a2b3c4d5e6f-5d6e7f8a
	Digest string              // sha256:… of the manifest
	Config ocispec.ImageConfig // EXPOSE, USER, CMD … as the image says
	Built  bool                // false: it was there already, nothing was built
}

// Options say whose images are wanted, and how.
type Options struct {
	Project     *types.Project // paths in it are absolute; env values in build args are resolved
	Services    []string       // service names, or job/NAME; empty: all services and jobs
	NoCache     bool           // build everything anew
	Pull        bool           // ask the registry for newer base images and images, even when they are in the store
	AlwaysBuild bool           // call the builder even when the image is there (--build)
	NoBuild     bool           // never build: what is not there is an error (--no-build)
	DryRun      bool           // build and pull nothing: say what the images would be; Built is then what would be made
	Verbose     bool           // report every line that a build prints
}
