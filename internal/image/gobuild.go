package image

import (
	"context"
	"errors"
)

// buildGo builds a Go module without a Dockerfile.
func (rs *resolver) buildGo(ctx context.Context, t *task, ref string) error {
	return errors.New("not yet")
}
