package secrets

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Repository is what is looked through for secrets.
type Repository struct {
	Top   string   // its folder
	Git   bool     // Files are those that git tracks; false: all in the folder
	Files []string // relative to Top, sorted
}

// RepositoryOf is the git repository that a folder is in, as it is checked out: what is tracked or about to be. Without git,
// or outside of any repository, it is the folder.
func RepositoryOf(ctx context.Context, dir string) (Repository, error) {
	top, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err == nil {
		r := Repository{Top: strings.TrimRight(string(top), "\n"), Git: true}
		out, err := git(ctx, r.Top, "ls-files", "-z")
		r.Files = strings.FieldsFunc(string(out), func(c rune) bool { return c == 0 })
		slices.Sort(r.Files)
		r.Files = slices.Compact(r.Files) // a file in conflict is there three times
		return r, err
	}
	if ctx.Err() != nil {
		return Repository{}, context.Cause(ctx)
	}
	r := Repository{Top: dir}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		r.Files = append(r.Files, rel)
		return err
	})
	return r, err
}

// git runs git in dir. Its settings are ours as far as they could run programs or write: a repository is only data.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-C", dir, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	return cmd.Output()
}
