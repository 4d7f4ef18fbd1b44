package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

func newCompletionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	var c *cobra.Command
	c = a.command(&cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print the completion script of a shell",
		Example:   "source <(perch completion bash)\nperch completion zsh > \"${fpath[1]}/_perch\"",
		Args:      cobra.ExactArgs(1),
		ValidArgs: shells,
	}, func(_ context.Context, args []string) error {
		root, out := c.Root(), a.env.Out
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(out, true)
		case "zsh":
			return root.GenZshCompletion(out)
		case "fish":
			return root.GenFishCompletion(out, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(out)
		}
		return fault.New(fault.Usage, "one of: bash, zsh, fish, powershell", "unknown shell %q", args[0])
	})
	return c
}

// addFlagCompletion completes the values of global flags, on every command.
func (a *app) addFlagCompletion(cmd *cobra.Command) {
	for _, f := range a.globals.flags {
		flag := cmd.Flags().Lookup(f.name)
		if flag == nil || flag.Value != f {
			continue
		}
		complete := a.completionOf(f)
		if complete != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.name, complete) // it fails only when called twice for one flag
		}
	}
	for _, child := range cmd.Commands() {
		a.addFlagCompletion(child)
	}
}

func (a *app) completionOf(f *globalFlag) cobra.CompletionFunc {
	switch {
	case f.values != nil:
		return cobra.FixedCompletions(f.values(), cobra.ShellCompDirectiveNoFileComp)
	case f.name == "context":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return a.contexts(), cobra.ShellCompDirectiveNoFileComp
		}
	case f.name == "target":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return compose.Targets(a.composeOptions()), cobra.ShellCompDirectiveNoFileComp
		}
	case slices.Contains([]string{"confirm", "project-name", "cluster", "namespace"}, f.name):
		return cobra.NoFileCompletions
	default:
		return nil // files
	}
}

// completeServices completes the names of the project's services that are not named yet.
func (a *app) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if a.globals.fromEnvironment(a.env) != nil || a.globals.fromUserFile(a.env) != nil || a.chooseTarget() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	project, err := a.projectNames(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, name := range project.ServiceNames() {
		if !slices.Contains(args, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeService is completeServices for a command that takes one service and then something else.
func (a *app) completeService(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeServices(cmd, args, to)
}

// completeJob completes the names of the project's jobs.
func (a *app) completeJob(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	if err := a.globals.fromEnvironment(a.env); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	project, err := a.projectNames(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(project.Jobs)), cobra.ShellCompDirectiveNoFileComp
}
