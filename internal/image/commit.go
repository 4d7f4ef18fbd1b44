package image

import (
	"bytes"
	"context"
	"strings"
)

// commitLength is how many digits of a commit are told.
const commitLength = "12"

// Commit is the git commit that a folder is at, with -dirty when something in the folder is not as in it. It is "" for a
// folder outside any repository, before the first commit, and on a machine without git.
func Commit(ctx context.Context, dir string) string {
	out, err := git(ctx, dir, "rev-parse", "--short="+commitLength, "HEAD")
	if err != nil {
		return ""
	}
	commit := strings.TrimSpace(string(out))
	changed, err := git(ctx, dir, "status", "--porcelain=v1", "--untracked-files=normal", "--", ".")
	if err != nil || len(bytes.TrimSpace(changed)) > 0 {
		commit += "-dirty"
	}
	return commit
}
