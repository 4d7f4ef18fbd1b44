package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/moby/patternmatcher"
	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
	"github.com/perch-k8s/perch/internal/ui"
)

// exposed is a secret that stands in the repository.
type exposed struct {
	File string `json:"file"` // as a message shows it
	Line int    `json:"line"`
	Name string `json:"name,omitempty"` // of the secret or variable
	What string `json:"what"`
}

func (e exposed) String() string {
	text := e.What
	if e.Name != "" {
		text = e.Name + ": " + text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, text)
}

func newSecretsCheck(a *app) *cobra.Command {
	var exclude []string
	c := &cobra.Command{
		Use:   "check",
		Short: "Look for secrets that stand in the repository in the open",
		Example: "perch secrets check\n" +
			"perch secrets check --exclude '**/testdata'   # keys that are for tests only",
		Args:        cobra.NoArgs,
		Annotations: exits("1 something was found, 2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}
	c.Flags().StringArrayVar(&exclude, "exclude", nil, "leave out what a `PATTERN` names, as in .dockerignore, from the repository's folder; repeatable")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.checkSecrets(ctx, exclude) })
}

func (a *app) checkSecrets(ctx context.Context, exclude []string) error {
	v, err := a.vault(ctx, true)
	if err != nil {
		return err
	}
	repository, err := a.repository(ctx, v, exclude)
	if err != nil {
		return err
	}
	files, err := v.Files()
	if err != nil {
		return err
	}
	var all []secrets.Values
	var unread error
	for _, file := range files {
		values, err := v.Read(file, v.keys)
		unread = errors.Join(unread, err)
		all = append(all, values)
	}
	found, err := a.searched(repository, secrets.NewSearch(all...))
	if err != nil {
		return err
	}
	literals, err := compose.Literals(ctx, a.composeOptions())
	unread = errors.Join(unread, err)
	found = a.withLiterals(found, repository, literals)
	if err := a.sayExposed(found); err != nil {
		return err
	}
	if len(found) == 0 {
		if unread == nil {
			a.note("no secret stands in %s", a.lookedThrough(repository))
		}
		return unread
	}
	return errors.Join(fault.New(fault.Other,
		"keep them with perch secrets set and write ${NAME} in their place; what was committed stays in git's history: change the values",
		"secrets stand in the open: %d found", len(found)), unread)
}

// repository is what is to be looked through.
func (a *app) repository(ctx context.Context, v vault, exclude []string) (secrets.Repository, error) {
	r, err := secrets.RepositoryOf(ctx, v.Dir)
	if err != nil || len(exclude) == 0 {
		return r, err
	}
	m, err := patternmatcher.New(exclude)
	if err != nil {
		return r, fault.New(fault.Usage, "", "--exclude: %w", err)
	}
	var left []string
	for _, file := range r.Files {
		matched, err := m.MatchesOrParentMatches(file)
		if err != nil {
			return r, fault.New(fault.Usage, "", "--exclude: %w", err)
		}
		if !matched {
			left = append(left, file)
		}
	}
	r.Files = left
	return r, nil
}

func (a *app) lookedThrough(r secrets.Repository) string {
	what := "files of"
	if r.Git {
		what = "files that git tracks in"
	}
	return fmt.Sprintf("the %d %s %s", len(r.Files), what, a.relative(r.Top))
}

// relative is how messages name a path: from the working directory.
func (a *app) relative(path string) string {
	if rel, err := filepath.Rel(a.env.WorkDir, path); err == nil {
		return rel
	}
	return path
}

func (a *app) searched(r secrets.Repository, s secrets.Search) ([]exposed, error) {
	var all []exposed
	for _, file := range r.Files {
		path := filepath.Join(r.Top, file)
		found, _, err := s.File(path)
		if err != nil {
			return nil, err
		}
		for _, one := range found {
			all = append(all, exposed{a.relative(path), one.Line, one.Name, one.What})
		}
	}
	return all, nil
}

// withLiterals adds the values that the Compose file shows to be sensitive, where they stand in files of the repository.
func (a *app) withLiterals(found []exposed, r secrets.Repository, literals []compose.Literal) []exposed {
	in := map[string]bool{}
	for _, file := range r.Files {
		in[filepath.Join(r.Top, file)] = true
	}
	known := map[string]bool{}
	for _, one := range found {
		known[fmt.Sprint(one.File, ":", one.Line)] = true
	}
	for _, l := range literals {
		path := l.File
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved // as git names its folder
		}
		one := exposed{a.relative(path), l.Line, l.Name, "a sensitive value in the open"}
		if l.Path != "" && l.Path != l.Name {
			one.What += " (" + l.Path + ")"
		}
		if (in[path] || in[l.File]) && !known[fmt.Sprint(one.File, ":", one.Line)] {
			found = append(found, one)
		}
	}
	slices.SortStableFunc(found, func(a, b exposed) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return found
}

func (a *app) sayExposed(found []exposed) error {
	if !a.globals.forPeople() {
		r := ui.Result{Value: append([]exposed{}, found...)}
		for _, one := range found {
			r.Names = append(r.Names, fmt.Sprintf("%s:%d", one.File, one.Line))
		}
		return a.result(r)
	}
	a.closeProgress()
	for _, one := range found {
		a.say("%s", one)
	}
	return nil
}
