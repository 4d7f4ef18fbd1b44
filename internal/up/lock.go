package up

import (
	"context"
	"os/exec"
	"strings"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/release"
)

// holder is this run for those who wait for it: with the commit that it deploys, if the project is in a repository.
func holder(ctx context.Context, project *compose.Project) release.Holder {
	git := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD")
	git.Dir = project.WorkingDir
	out, err := git.Output()
	if err != nil {
		return release.Holder{} // no git, no repository or no commit: nothing is said of it
	}
	return release.Holder{Commit: strings.TrimSpace(string(out))}
}
