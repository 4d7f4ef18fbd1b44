package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// folderOrFormat is config's own -o: how it prints, as everywhere, or the folder that it writes to.
type folderOrFormat struct {
	global *globalFlag
	folder *string
}

func (f folderOrFormat) Set(s string) error {
	if slices.Contains(ui.Formats(), s) {
		return f.global.Set(s)
	}
	*f.folder = s
	return nil
}

func (f folderOrFormat) String() string {
	if f.folder == nil || *f.folder != "" { // pflag asks the zero value
		return ""
	}
	return f.global.String()
}

func (f folderOrFormat) Type() string { return "string" }

// flag is the global flag of that name.
func (g *globals) flag(name string) *globalFlag {
	for _, f := range g.flags {
		if f.name == name {
			return f
		}
	}
	panic("cli: there is no global flag " + name)
}

// checkFolder sees to it that a folder is given where files are written, and only there.
func checkFolder(f configFlags) error {
	writes := f.format == "chart" || f.format == "kustomize"
	switch {
	case writes && f.dir == "":
		return fault.New(fault.Usage, "add -o FOLDER", "--format %s needs a folder to write to", f.format)
	case !writes && f.dir != "":
		return fault.New(fault.Usage, "add --format chart or --format kustomize to write to a folder",
			"-o %q: must be one of %s", f.dir, strings.Join(ui.Formats(), ", "))
	}
	return nil
}

// exportConfig writes a Helm chart or a kustomization of the whole project.
func (a *app) exportConfig(ctx context.Context, f configFlags, services []string) error {
	e, err := up.Export(ctx, a.upOptions(services))
	if err != nil {
		return err
	}
	a.warn(e.Project.Warnings)
	a.closeProgress()
	e.Chart.Secrets = f.secrets
	if !f.secrets {
		if err := a.hideExported(&e); err != nil {
			return err
		}
	}
	files, err := chart.Export(e.Chart)
	if f.format == "kustomize" {
		files, err = chart.Kustomize(e.Chart, e.Overlays)
	}
	if err != nil {
		return err
	}
	dir := a.absolute(f.dir)
	if err := a.mayWrite(ctx, dir, f.dir); err != nil {
		return err
	}
	if err := chart.Write(dir, files); err != nil {
		return fmt.Errorf("write %s: %w", f.dir, err)
	}
	for _, note := range e.Rendered.Notes {
		a.note("note: %s: %s", note.Path, note.Text)
	}
	for _, service := range e.Beside {
		a.note("note: service %q is a Helm chart of its own, which is not in here: install it before", service)
	}
	for _, ref := range e.Unpinned {
		a.note("note: %s has no digest: no registry is known to have it", ref)
	}
	a.say("%s", f.dir)
	a.note("next: read README.md in %s", f.dir)
	return nil
}

// mayWrite asks before files of a folder are written over: whoever owns them may have changed them.
func (a *app) mayWrite(ctx context.Context, dir, shown string) error {
	there, err := os.ReadDir(dir)
	if os.IsNotExist(err) || (err == nil && len(there) == 0) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Usage, "name a folder that is empty or not there", "%s: %w", shown, err)
	}
	return a.confirm(ctx, fmt.Sprintf("%s is not empty, and files in it would be written over", shown))
}

// hideExported takes sensitive texts out of everything but Secrets, which are written without values, and says where.
func (a *app) hideExported(e *up.Exported) error {
	h := newHider(e.Project.SecretTexts())
	for i := range e.Chart.Units {
		u := &e.Chart.Units[i]
		for _, objects := range []*[]runtime.Object{&u.Config, &u.Migrations, &u.Objects} {
			shown, hidden, err := h.others(*objects)
			if err != nil {
				return err
			}
			*objects = shown
			for _, name := range hidden {
				a.note("note: %s: a sensitive value in it reads %s: write it there, or make it a variable", name, compose.Hidden)
			}
		}
	}
	return nil
}

// others hides sensitive texts in all objects but Secrets, and says in which there were any.
func (h hider) others(objects []runtime.Object) (shown []runtime.Object, hidden []string, err error) {
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind().Kind == "Secret" {
			shown = append(shown, o)
			continue
		}
		one, err := h.objects([]runtime.Object{o})
		if err != nil {
			return nil, nil, err
		}
		before, err := treeJSON(o)
		if err != nil {
			return nil, nil, err
		}
		after, err := treeJSON(one[0])
		if err != nil {
			return nil, nil, err
		}
		if bytes.Equal(before, after) {
			shown = append(shown, o)
			continue
		}
		shown = append(shown, one[0])
		if m, err := meta.Accessor(o); err == nil {
			hidden = append(hidden, o.GetObjectKind().GroupVersionKind().Kind+" "+m.GetName())
		}
	}
	return shown, hidden, nil
}

// treeJSON is an object as JSON, the same whatever Go type it has.
func treeJSON(o runtime.Object) ([]byte, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	return json.Marshal(tree)
}
