package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// entry is one thing in a build context: what of it can come to be in an image.
type entry struct {
	path string
	mode fs.FileMode // type and permission bits; nothing else survives a COPY
	link string      // where a symbolic link points
	sum  string      // sha256 of a file's content
}

// contentHash is the hash of everything that decides about r's result, in hexadecimal. Times and owners are not in it,
// nor is .git, which changes when nothing did. Parents are the names of the images that r builds on.
func (r *recipe) contentHash(ctx context.Context, parents []string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "perch image 1\n%q %q\n%s\n%q\n", r.hashed, r.main, r.settings(), parents)
	if r.dockerfile != "" {
		b, err := os.ReadFile(r.dockerfile)
		if err != nil {
			return "", r.fault("", "%w", err)
		}
		fmt.Fprintf(h, "%q\n", b)
	}
	if !fetched(r.config.Context) {
		if err := hashDir(ctx, h, r.config.Context, r.ignore); err != nil {
			return "", r.fault("", "%w", err)
		}
	}
	for _, c := range r.contexts {
		if c.dir == "" {
			continue
		}
		fmt.Fprintf(h, "context %q\n", c.name)
		if err := hashDir(ctx, h, c.dir, c.ignore); err != nil {
			return "", r.fault("", "%w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashDir writes one line for each thing in dir that ignore leaves, in the order of the walk, which is sorted.
func hashDir(ctx context.Context, h hash.Hash, dir string, ignore []string) error {
	entries, err := list(ctx, dir, ignore)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range entries {
		if entries[i].mode.IsRegular() {
			g.Go(func() error {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				entries[i].sum, err = hashFile(filepath.Join(dir, entries[i].path))
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, e := range entries {
		fmt.Fprintf(h, "%q %o %q %s\n", e.path, uint32(e.mode), e.link, e.sum)
	}
	return nil
}

// list walks dir the way BuildKit does when it sends it.
func list(ctx context.Context, dir string, ignore []string) ([]entry, error) {
	root, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	if root, err = fsutil.NewFilterFS(root, &fsutil.FilterOpt{ExcludePatterns: ignore}); err != nil {
		return nil, err
	}
	var out []entry
	err = root.Walk(ctx, "", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == ".git" || strings.HasPrefix(path, ".git"+string(filepath.Separator)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{path: path, mode: info.Mode() & (fs.ModeType | fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)}
		if st, ok := info.Sys().(*fstypes.Stat); ok {
			e.link = st.Linkname
		}
		out = append(out, e)
		return nil
	})
	return out, err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
