package up

import (
	"context"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/release"
)

// holder is this run for those who wait for it: with the commit that it deploys, if the project is in a repository.
func holder(ctx context.Context, project *compose.Project) release.Holder {
	return release.Holder{Commit: image.Commit(ctx, project.WorkingDir)}
}
