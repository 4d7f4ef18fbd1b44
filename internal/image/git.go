package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
)

// revision is what git knows of a recipe's files.
type revision struct {
	commit string // the last commit that touched them, in full; "": not in a repository, or not committed
	dirty  bool   // something that goes into the image is not as in that commit
}

// revision asks git about the files of r. A host without git, or a folder outside any repository, has none.
func (r *recipe) revision(ctx context.Context) revision {
	top, err := git(ctx, r.config.Context, "rev-parse", "--show-toplevel")
	if err != nil {
		return revision{}
	}
	in, err := r.inside(strings.TrimSpace(string(top)))
	if err != nil {
		return revision{}
	}
	rev := revision{commit: r.lastCommit(ctx, in)}
	if rev.commit == "" {
		return revision{} // the commits of other files say nothing of it
	}
	rev.dirty = r.dirty(ctx, in)
	return rev
}

// paths are what git is asked about: the contexts, and the Dockerfile wherever it is.
func (r *recipe) paths() []string {
	paths := []string{r.config.Context}
	if r.dockerfile != "" {
		paths = append(paths, r.dockerfile)
	}
	for _, c := range r.contexts {
		if c.dir != "" {
			paths = append(paths, c.dir)
		}
	}
	return paths
}

// lastCommit is the last commit that touched something that goes into the image; "" when there is none. A file that the
// ignore file leaves out does not count, nor does one that was there before and would be left out today. Of a merge only
// what it brought to its first parent counts: so all commits up to the one that is found have the same files.
func (r *recipe) lastCommit(ctx context.Context, in *inside) string {
	ctx, cancel := context.WithCancel(ctx) // the history is long, and what we look for is mostly near
	cmd, err := gitCommand(ctx, r.config.Context, append([]string{
		"log", "--first-parent", "-m", "--format=%x01%H", "--name-only", "--no-renames", "-z", "--",
	}, r.paths()...)...)
	if err != nil {
		cancel()
		return ""
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return ""
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it is killed, and that is no failure
	lines := bufio.NewReader(out)
	for commit := ""; ; {
		line, err := lines.ReadString(0)
		if err != nil {
			return ""
		}
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\x00"), "\n") // a line break stands before the first name
		if hash, ok := strings.CutPrefix(line, "\x01"); ok {
			commit = hash
			continue
		}
		if line != "" && in.has(line) {
			return commit
		}
	}
}

// dirty is true when a file that goes into the image is changed, new, or ignored by git: then the commit does not say
// what is in the image.
func (r *recipe) dirty(ctx context.Context, in *inside) bool {
	out, err := git(ctx, r.config.Context, append([]string{
		"status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal", "--ignored=traditional", "--",
	}, r.paths()...)...)
	if err != nil {
		return true
	}
	for line := range bytes.SplitSeq(out, []byte{0}) {
		if len(line) >= 4 && in.has(string(line[3:])) { // "XY PATH"; a folder ends in a slash
			return true
		}
	}
	return false
}

// inside tells which files of a repository go into a recipe's image.
type inside struct {
	top      string
	always   []string // the Dockerfile and ignore files: they decide, whether they are in the context or not
	contexts []ignoredTree
}

// ignoredTree is a build context with what its ignore file leaves out.
type ignoredTree struct {
	root    string
	matcher *patternmatcher.PatternMatcher
}

func (r *recipe) inside(top string) (*inside, error) {
	in := &inside{top: top}
	add := func(dir string, ignore []string) error {
		root, err := filepath.EvalSymlinks(dir) // as git sees it
		if err != nil {
			return err
		}
		m, err := patternmatcher.New(ignore)
		in.contexts = append(in.contexts, ignoredTree{root, m})
		in.always = append(in.always, filepath.Join(root, ignoreFile))
		return err
	}
	if err := add(r.config.Context, r.ignore); err != nil {
		return nil, err
	}
	for _, c := range r.contexts {
		if c.dir == "" {
			continue
		}
		if err := add(c.dir, c.ignore); err != nil {
			return nil, err
		}
	}
	if r.dockerfile != "" {
		dir, err := filepath.EvalSymlinks(filepath.Dir(r.dockerfile))
		if err != nil && !r.golang {
			return nil, err
		}
		dockerfile := filepath.Join(dir, filepath.Base(r.dockerfile))
		in.always = append(in.always, dockerfile, dockerfile+ignoreFile)
	}
	return in, nil
}

// has is false for a file or folder of the repository that certainly does not go into the image.
func (in *inside) has(name string) bool {
	path := filepath.Join(in.top, name)
	if slices.Contains(in.always, path) {
		return true
	}
	for _, c := range in.contexts {
		if !c.leavesOut(path) {
			return true
		}
	}
	return false
}

// leavesOut is true when the file or folder at path is not in the tree, or its ignore file names it.
func (c ignoredTree) leavesOut(path string) bool {
	rel, err := filepath.Rel(c.root, path)
	if err != nil || rel == "." {
		return false
	}
	if rel == ".." || strings.HasPrefix(rel, "../") {
		up, err := filepath.Rel(path, c.root)
		return err != nil || up == ".." || strings.HasPrefix(up, "../") // else it is a folder that the tree is in
	}
	matched, err := c.matcher.MatchesOrParentMatches(rel)
	if err != nil || !matched {
		return false
	}
	info, err := os.Lstat(path)
	return err != nil || !info.IsDir() || !c.matcher.Exclusions() // "!" may let a file of an ignored folder in
}

// git runs git in dir. Its settings are ours as far as they could run programs or write: a repository is only data.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd, err := gitCommand(ctx, dir, args...)
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

func gitCommand(ctx context.Context, dir string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{
		"-C", dir, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks", "--literal-pathspecs",
	}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	return cmd, nil
}
