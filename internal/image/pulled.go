package image

import (
	"context"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// pulled tells whether the registry that a full name means has what the store has under it: it came from there, or went
// there. Of what was only built here, or loaded from an archive, no registry is known to have it.
func (cl *client) pulled(ctx context.Context, name string, target digest.Digest) bool {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	info, err := cl.ContentStore().Info(ctx, target)
	if err != nil {
		return false
	}
	from := strings.Split(info.Labels[sourceLabel+reference.Domain(named)], ",")
	return slices.Contains(from, reference.Path(named))
}
