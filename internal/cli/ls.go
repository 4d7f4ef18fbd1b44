package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

func newLsCommand(a *app) *cobra.Command {
	all := false
	c := &cobra.Command{
		Use:         "ls",
		Short:       "List the projects of the cluster that run",
		Example:     "perch ls\nperch ls --all -o json",
		Args:        cobra.NoArgs,
		Annotations: exits("2 usage, 15 no cluster"),
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "list those too of which no pod runs")
	return a.command(c, func(ctx context.Context, _ []string) error {
		projects, err := up.List(ctx, a.upOptions(nil))
		if err != nil {
			return err
		}
		if !all {
			projects = slices.DeleteFunc(projects, func(p up.Listed) bool { return p.Running == 0 })
		}
		r := ui.Result{Header: []string{"NAME", "NAMESPACE", "STATUS", "SERVICES"}, Value: projects, Empty: "no project runs; start one: perch up"}
		for _, p := range projects {
			r.Names = append(r.Names, p.Name)
			r.Rows = append(r.Rows, []string{p.Name, p.Namespace, p.Status, strings.Join(p.Services, ", ")})
		}
		if a.globals.quiet && a.globals.output == ui.FormatDefault {
			a.globals.output = ui.FormatName
		}
		return a.result(r)
	})
}
