// Package image makes the images of a project: BuildKit for a Dockerfile, the host's Go for a folder with only a go.mod.
// Images go to a sink: the node's own store, or a registry. It knows nothing of Kubernetes objects.
//
// It is the client side: the store and the builder are Unix sockets, and the types of containerd and BuildKit do not
// leave this package. An image that a project builds is named after what goes into it (see tag.go), so that the
// same input has the same name and is not built again.
package image

import (
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image that is in the sink, or that a registry is known to have.
type Image struct {
	Ref    string              // full name with tag, as the CRI knows it: DOMAIN/library/shop-web:1a2b3c4d5e6f-5d6e7f8a; of one that was pushed, with @DIGEST
	Digest string              // sha256:… of the manifest; "" when a registry was to tell it and did not
	Base   string              // NAME@sha256:… of the image that it was built on; "": none, or it is not known
	Config ocispec.ImageConfig // EXPOSE, USER, CMD … as the image says
	Built  bool                // false: it was there already, nothing was built
	Pulled bool                // a registry has it under Digest

	Unknown string                   // why Config and all below are not known (a dry run with no registry); "": they are
	Health  *types.HealthCheckConfig // HEALTHCHECK of the image; nil: it has none
	User    User                     // who the container runs as
	Content map[string]Content       // what the image has where the container's volumes are mounted, by cleaned path
	Shell   bool                     // it has /bin/sh and cp
}

// User is who a container runs as: user: and group_add of the Compose file, else USER of the image, with names looked up in
// the image's /etc/passwd and /etc/group.
type User struct {
	UID    *int64 // nil: not known
	GID    *int64 // nil: what the runtime takes from /etc/passwd
	Groups []int64
}

// Content is a path of an image.
type Content struct {
	Exists bool
	Filled bool // a file, or a folder with something in it
	UID    int64
	GID    int64
	Mode   uint32 // permission bits with setuid, setgid and sticky as in stat(2)
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
	Shell       bool           // look for a shell in every image, not only where a volume needs it
	Verbose     bool           // report every line that a build prints
	Elsewhere   bool           // they are for a cluster that pulls by itself: what the project only names is looked up, and not pulled here

	Registry     Registry // where images go that are built; the zero value is the node's store
	Mirrors      Mirrors  // asked before the registries that images come from
	Certificates []string // folders that have a folder for each registry with its authority's ca.crt, as Docker's /etc/docker/certs.d
	LayerCache   string   // a folder of what was seen in layers of registries; "": they are read anew
}

// Registry is a sink outside the node.
type Registry struct {
	Prefix    string        // HOST[:PORT][/PATH] below which images get their names; "": there is no registry
	Platforms []string      // as linux/arm64; empty: those of build.platforms, else this machine's
	Stall     time.Duration // a connection on which nothing moves for so long is given up; 0 is a minute
}

// On tells whether images go to a registry.
func (r Registry) On() bool { return r.Prefix != "" }
