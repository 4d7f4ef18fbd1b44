package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
)

// revision is what git knows of a recipe's files.
type revision struct {
	commit string // the last commit that touched them, in full; "": not in a repository, or nothing committed
	dirty  bool   // something that goes into the image is not as in that commit
}

// revision asks git about the files of r. A host without git, or a folder outside any repository, has none.
func (r *recipe) revision(ctx context.Context) revision {
	paths := []string{r.config.Context}
	if r.dockerfile != "" {
		paths = append(paths, r.dockerfile)
	}
	for _, c := range r.contexts {
		if c.dir != "" {
			paths = append(paths, c.dir)
		}
	}
	commit, err := git(ctx, r.config.Context, append([]string{"log", "-1", "--format=%H", "--"}, paths...)...)
	if err != nil {
		return revision{}
	}
	rev := revision{commit: strings.TrimSpace(string(commit))}
	if rev.commit == "" { // nothing of it is committed yet: the repository's commit says at least when it was
		head, err := git(ctx, r.config.Context, "rev-parse", "--verify", "--quiet", "HEAD")
		if err != nil {
			return revision{}
		}
		return revision{commit: strings.TrimSpace(string(head)), dirty: true}
	}
	rev.dirty = r.dirty(ctx, paths)
	return rev
}

// dirty is true when a file that goes into the image is changed, new, or ignored by git: then the commit does not say
// what is in the image.
func (r *recipe) dirty(ctx context.Context, paths []string) bool {
	top, err := git(ctx, r.config.Context, "rev-parse", "--show-toplevel")
	if err != nil {
		return true
	}
	out, err := git(ctx, r.config.Context, append([]string{
		"status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal", "--ignored=traditional", "--",
	}, paths...)...)
	if err != nil {
		return true
	}
	root, err := filepath.EvalSymlinks(r.config.Context)
	if err != nil {
		return true
	}
	matcher, err := patternmatcher.New(r.ignore)
	if err != nil {
		return true
	}
	for line := range bytes.SplitSeq(out, []byte{0}) {
		if len(line) < 4 {
			continue
		}
		path := filepath.Join(strings.TrimSpace(string(top)), string(line[3:])) // "XY PATH"; a folder ends in a slash
		if !outside(path, root, matcher) {
			return true
		}
	}
	return false
}

// outside is true when the file or folder at path is certainly left out of the context by its ignore file.
func outside(path, root string, m *patternmatcher.PatternMatcher) bool {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return false // the Dockerfile, another context, or the whole context
	}
	matched, err := m.MatchesOrParentMatches(rel)
	if err != nil || !matched {
		return false
	}
	info, err := os.Lstat(path)
	return err != nil || !info.IsDir() || !m.Exclusions() // "!" may let a file of an ignored folder in
}

// git runs git in dir. Its settings are ours as far as they could run programs or write: a repository is only data.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{
		"-C", dir, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks", "--literal-pathspecs",
	}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
