package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// configFormat is what config prints.
type configFormat string

func configFormats() []string { return []string{"yaml", "json", "kubernetes", "chart", "kustomize"} }

func (f *configFormat) Set(s string) error {
	if !slices.Contains(configFormats(), s) {
		return errors.New("must be one of " + strings.Join(configFormats(), ", "))
	}
	*f = configFormat(s)
	return nil
}

func (f *configFormat) String() string { return string(*f) }
func (f *configFormat) Type() string   { return "format" }

// configFlags are the flags of config.
type configFlags struct {
	format   configFormat
	dir      string
	services bool
	secrets  bool
	explain  string
}

func newConfigCommand(a *app) *cobra.Command {
	f := configFlags{format: "yaml"}
	c := &cobra.Command{
		Use:   "config [SERVICE...]",
		Short: "Check the Compose file and print it resolved, or what it becomes",
		Example: "perch config\nperch config\n" +
			"perch config --format kubernetes --show-secrets | kubectl apply -f -\nperch config --format chart -o chart",
		Annotations:       exits("1 failed, 2 usage, 11 Compose file"),
		ValidArgsFunction: a.completeServices,
	}
	flags := c.Flags()
	flags.Var(&f.format, "format", "`FORMAT`: "+strings.Join(configFormats(), ", "))
	flags.VarP(folderOrFormat{a.globals.flag("output"), &f.dir}, "output", "o",
		"result as `FORMAT`: "+strings.Join(ui.Formats(), ", ")+"; or the folder of --format chart, kustomize")
	flags.StringVar(&f.dir, "output-dir", "", "the same `folder`")
	flags.BoolVar(&f.services, "services", false, "print the names of the services only")
	flags.BoolVar(&f.secrets, "show-secrets", false, "print sensitive values too; without it they read "+compose.Hidden)
	flags.StringVar(&f.explain, "explain", "", "print what becomes of a `key`, as services.web.ports, and of all below it")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(configFormats(), cobra.ShellCompDirectiveNoFileComp))
	return a.command(c, func(ctx context.Context, services []string) error {
		if err := checkFolder(f); err != nil {
			return err
		}
		if a.globals.output == ui.FormatJSON && f.format == "yaml" {
			f.format = "json"
		}
		return a.config(ctx, f, services)
	})
}

func (a *app) config(ctx context.Context, f configFlags, services []string) error {
	switch {
	case f.explain != "":
		return a.explain(ctx, f.explain)
	case f.format == "yaml" || f.format == "json" || a.globals.quiet:
		return a.composeConfig(ctx, f, services)
	case f.format != "kubernetes":
		return a.exportConfig(ctx, f, services)
	}
	o := a.upOptions(services)
	project, rendered, err := up.Config(ctx, o)
	if err != nil {
		return err
	}
	a.warn(project.Warnings)
	a.closeProgress()
	objects, err := up.Applicable(o, project, rendered)
	if err != nil {
		return err
	}
	return a.kubernetesConfig(f, project, rendered, objects)
}

// kubernetesConfig prints objects as YAML, and on standard error what a reader of them should know.
func (a *app) kubernetesConfig(f configFlags, project *compose.Project, rendered render.Output, objects []runtime.Object) error {
	for _, note := range rendered.Notes {
		a.note("note: %s: %s", note.Path, note.Text)
	}
	if !f.secrets {
		var err error
		if objects, err = newHider(project.SecretTexts()).objects(objects); err != nil {
			return err
		}
		a.note("note: sensitive values read %s: add --show-secrets for objects to apply", compose.Hidden)
	}
	data, err := render.YAML(objects)
	if err != nil {
		return err
	}
	_, err = a.env.Out.Write(data)
	return err
}

// composeConfig prints the Compose file as it was understood, or checks it only.
func (a *app) composeConfig(ctx context.Context, f configFlags, services []string) error {
	project, err := a.project(ctx)
	if err != nil {
		return err
	}
	if err := checkServices(services, project.ServiceNames()); err != nil {
		return err
	}
	a.warn(project.Warnings)
	a.closeProgress()
	shown := project.Project
	if !f.secrets {
		shown = project.WithoutSecrets()
	}
	if len(services) > 0 {
		if shown, err = shown.WithSelectedServices(services); err != nil {
			return err
		}
	}
	switch {
	case a.globals.quiet:
		return nil
	case f.services:
		for _, name := range shown.ServiceNames() {
			a.say("%s", name)
		}
		return nil
	}
	data, err := composeText(f, shown, newHider(project.SecretTexts()))
	if err != nil {
		return err
	}
	a.say("%s", strings.TrimRight(string(data), "\n"))
	return nil
}

// composeText is the project as YAML or JSON.
func composeText(f configFlags, shown *types.Project, h hider) ([]byte, error) {
	marshal, hide := shown.MarshalYAML, h.yaml
	if f.format == "json" {
		marshal, hide = shown.MarshalJSON, h.json
	}
	data, err := marshal()
	if err != nil || f.secrets {
		return data, err
	}
	return hide(data)
}
