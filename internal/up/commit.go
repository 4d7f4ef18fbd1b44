package up

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
)

// commitLength is how many digits of a commit are told.
const commitLength = "12"

// commitOf is the git commit that a folder is at, with -dirty when something in the folder is not as in it. It is "" for a
// folder outside any repository, before the first commit, and on a machine without git.
func commitOf(ctx context.Context, dir string) string {
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

// git runs git in a folder. Its settings are ours as far as they could run programs or write: a repository is only data.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{
		"-C", dir, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks", "--literal-pathspecs",
	}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	return cmd.Output()
}
