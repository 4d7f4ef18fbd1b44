package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/ui"
)

// configFormat is what config prints.
type configFormat string

func configFormats() []string { return []string{"yaml", "json", "kubernetes", "chart"} }

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
}

func newConfigCommand(a *app) *cobra.Command {
	f := configFlags{format: "yaml"}
	c := &cobra.Command{
		Use:               "config [SERVICE...]",
		Short:             "Check the Compose file and print it resolved, or what it becomes",
		Example:           "perch config\nperch config --format kubernetes\nperch config --format chart --output-dir charts",
		Annotations:       exits("1 failed, 2 usage, 11 Compose file"),
		ValidArgsFunction: a.completeServices,
	}
	flags := c.Flags()
	flags.Var(&f.format, "format", "`FORMAT`: "+strings.Join(configFormats(), ", "))
	flags.StringVar(&f.dir, "output-dir", "", "`folder` for the charts of --format chart, one folder a service")
	flags.BoolVar(&f.services, "services", false, "print the names of the services only")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(configFormats(), cobra.ShellCompDirectiveNoFileComp))
	return a.command(c, func(ctx context.Context, services []string) error {
		if f.format == "chart" && f.dir == "" {
			return fault.New(fault.Usage, "add --output-dir charts", "--format chart needs a folder to write to")
		}
		if a.globals.output == ui.FormatJSON && f.format == "yaml" {
			f.format = "json"
		}
		return a.config(ctx, f, services)
	})
}
