package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/migrate"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/ui"
)

// migrateFlags are the flags of migrate-manifests.
type migrateFlags struct{ write, diff bool }

func newMigrateCommand(a *app) *cobra.Command {
	var f migrateFlags
	c := &cobra.Command{
		Use:   "migrate-manifests FILE...",
		Short: "Rewrite manifests of API versions that Kubernetes serves no longer",
		Example: "perch migrate-manifests old.yaml > new.yaml\n" +
			"perch migrate-manifests --diff manifests/\n" +
			"helm template web | perch migrate-manifests - | kubectl apply -f -",
		Annotations: exits("1 failed, 2 usage; with --diff: 1 when something would change, 2 failed"),
	}
	c.Flags().BoolVarP(&f.write, "write", "w", false, "write the files anew instead of printing the manifests")
	c.Flags().BoolVar(&f.diff, "diff", false, "print the difference only; exit code 1 when there is one")
	return a.command(c, func(_ context.Context, args []string) error {
		if len(args) == 0 {
			return fault.New(fault.Usage, "perch migrate-manifests old.yaml", "no file: name files or folders, or - for what is piped in")
		}
		err := a.migrate(f, args)
		if f.diff && err != nil {
			return planFailed(err)
		}
		return err
	})
}

// migrated is a manifest before and after.
type migrated struct {
	manifest
	result migrate.Result
}

// changed tells whether something in it was old.
func (m migrated) changed() bool { return m.result.Text != m.text }

// difference is what diff -u would print.
func (m migrated) difference() string {
	text := string(diff.Diff(m.name, []byte(m.text), m.name+" (new)", []byte(m.result.Text)))
	_, text, _ = strings.Cut(text, "\n") // the command that would print it
	return text
}

// migrate decides about all files first: a mistake in one keeps all as they are.
func (a *app) migrate(f migrateFlags, args []string) error {
	manifests, err := a.manifests(args, f.write)
	if err != nil {
		return err
	}
	all := make([]migrated, 0, len(manifests))
	var mistakes []error
	for _, m := range manifests {
		result, err := migrate.File(m.name, m.text)
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		if result.Found > 0 || !m.searched {
			all = append(all, migrated{m, result})
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return err
	}
	a.warnMigrated(all)
	if err := a.printMigrated(f, all); err != nil {
		return err
	}
	if f.diff && slices.ContainsFunc(all, migrated.changed) {
		return commandExit(exitChanges)
	}
	return nil
}

// warnMigrated says what a cluster does not do any more.
func (a *app) warnMigrated(all []migrated) {
	for _, m := range all {
		for _, w := range m.result.Warnings {
			text := w.Text
			if w.Hint != "" {
				text += " (" + w.Hint + ")"
			}
			a.progress().Report(progress.Event{ID: fmt.Sprintf("%s:%d", m.name, w.Line), Status: progress.Warned, Text: text})
		}
	}
	a.closeProgress()
}

// printMigrated prints the manifests, or writes them to their files; the difference goes beside them.
func (a *app) printMigrated(f migrateFlags, all []migrated) error {
	switch {
	case a.globals.output != ui.FormatDefault:
		if err := a.result(migratedResult(all)); err != nil {
			return err
		}
	case f.diff || f.write && a.globals.dryRun:
		for _, m := range all {
			_, _ = fmt.Fprint(a.env.Out, a.coloredDiff(a.env.Out, m.difference()))
		}
		return nil
	case !f.write:
		a.printManifests(all)
	}
	changed := 0
	for _, m := range all {
		if !m.changed() {
			continue
		}
		changed += len(m.result.Objects)
		if f.write && !a.globals.dryRun {
			if err := replaceFile(m.path, m.result.Text); err != nil {
				return err
			}
		}
		a.noteDifference(m)
	}
	for _, m := range all {
		a.noteMigrated(m)
	}
	if changed == 0 {
		a.note("nothing is old: every object is of a version that Kubernetes %s serves", builtVersions("").Kubernetes)
	}
	return nil
}

// noteDifference shows the difference beside the result, unless that tells what was done, or nobody wants to read.
func (a *app) noteDifference(m migrated) {
	if mode := a.globals.mode(); mode == ui.Quiet || mode == ui.JSON || a.globals.output != ui.FormatDefault {
		return
	}
	_, _ = fmt.Fprint(a.env.Err, a.coloredDiff(a.env.Err, m.difference()))
}

// printManifests prints all files as one.
func (a *app) printManifests(all []migrated) {
	for i, m := range all {
		text := m.result.Text
		if i > 0 && !strings.HasPrefix(text, "---") {
			text = "---\n" + text
		}
		if !strings.HasSuffix(text, "\n") && i+1 < len(all) {
			text += "\n"
		}
		_, _ = fmt.Fprint(a.env.Out, text)
	}
}

// noteMigrated says of each object what became of it, and what was written out since the old version took it for granted.
func (a *app) noteMigrated(m migrated) {
	for _, o := range m.result.Objects {
		text := fmt.Sprintf("%s:%d: %s %s: %s, was %s", m.name, o.Line, o.Kind, o.Name, o.To, o.From)
		if len(o.Explicit) > 0 {
			text += "; written out, as the old version took it for granted: " + strings.Join(o.Explicit, ", ")
		}
		a.note("%s", text)
	}
}

// migratedJSON is an object that was rewritten, as `perch migrate-manifests -o json` prints it.
type migratedJSON struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // before
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	From     string   `json:"from"` // apiVersion
	To       string   `json:"to"`
	Explicit []string `json:"explicit"` // fields that the old version filled in by itself
}

func migratedResult(all []migrated) ui.Result {
	r := ui.Result{Header: []string{"FILE", "KIND", "NAME", "FROM", "TO"}, Empty: "nothing is old"}
	values := []migratedJSON{}
	for _, m := range all {
		for _, o := range m.result.Objects {
			r.Rows = append(r.Rows, []string{fmt.Sprintf("%s:%d", m.name, o.Line), o.Kind, o.Name, o.From, o.To})
			r.Names = append(r.Names, o.Kind+"/"+o.Name)
			values = append(values, migratedJSON{m.name, o.Line, o.Kind, o.Name, o.From, o.To, append([]string{}, o.Explicit...)})
		}
	}
	r.Value = values
	return r
}

// coloredDiff is a difference for that stream.
func (a *app) coloredDiff(stream any, text string) string {
	if !a.globals.color.Colors(a.env.around(stream)) {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		color := map[byte]string{'+': "\x1b[32m", '-': "\x1b[31m", '@': "\x1b[36m"}[line[0]]
		if color == "" {
			b.WriteString(line)
			continue
		}
		b.WriteString(color + strings.TrimSuffix(line, "\n") + "\x1b[0m\n")
	}
	return b.String()
}
