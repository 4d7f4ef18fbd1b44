package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
)

// Groups of commands in the help text, in its order.
const (
	groupApp     = "app"
	groupMachine = "machine"
	groupTools   = "tools"
)

// root is the whole command tree. Nothing of kubectl's and helm's trees is built before they are asked for.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:              "perch",
		Short:            "docker compose up, but it is Kubernetes",
		Example:          "perch up",
		TraverseChildren: true, // so that global flags may stand before the command, and logs may have a -f of its own
		SilenceErrors:    true,
		SilenceUsage:     true,
		Args:             cobra.ArbitraryArgs,
		Version:          builtVersions(a.env.Version).Perch,
	}
	root.SetVersionTemplate("perch {{.Version}}\n")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupApp, Title: "The app of the Compose file:"},
		&cobra.Group{ID: groupMachine, Title: "The cluster on this machine and its images:"},
		&cobra.Group{ID: groupTools, Title: "Kubernetes' own tools, and about Perch:"},
	)
	a.globals.addTo(root.Flags())
	a.addAppCommands(root)
	a.addMachineCommands(root)
	a.addToolCommands(root)
	a.addHelp(root)
	a.addFlagCompletion(root)
	return root
}

func (a *app) addAppCommands(root *cobra.Command) {
	add(root, groupApp, slices.Concat(
		changes(newUpCommand(a)), reads(newPlanCommand(a), newHistoryCommand(a)), changes(newRollbackCommand(a), newWatchCommand(a)),
		reads(newPsCommand(a), newLogsCommand(a)), changes(newExecCommand(a), newPsqlCommand(a), newRunCommand(a), newRestartCommand(a), newScaleCommand(a)),
		reads(newWhyCommand(a), newStatsCommand(a), newPortCommand(a), newOpenCommand(a), newWaitCommand(a)),
		reads(newBuildCommand(a)), []*cobra.Command{newConfigCommand(a), newSecretsCommand(a)}, changes(newDownCommand(a)), reads(newLsCommand(a)),
		[]*cobra.Command{newTargetCommand(a)})...)
}

func (a *app) addMachineCommands(root *cobra.Command) {
	add(root, groupMachine, newClusterCommand(a), newImageCommand(a), newSystemCommand(a), newDoctorCommand(a))
}

func (a *app) addToolCommands(root *cobra.Command) {
	add(root, groupTools, newKubectlCommand(a), newHelmCommand(a), newMigrateCommand(a), newCompletionCommand(a), newVersionCommand(a))
}

// orderKey is the annotation of a command that holds its place in the help text: its group and a number of two digits.
const orderKey = "order"

// add adds commands to a group, in the order in which the help text lists them.
func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for i, c := range commands {
		c.GroupID = group
		annotations := map[string]string{orderKey: fmt.Sprintf("%s %02d", group, i)}
		maps.Copy(annotations, c.Annotations)
		c.Annotations = annotations
	}
	root.AddCommand(commands...)
}

// group makes a command that only holds others: `perch cluster`.
func (a *app) group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	a.globals.addTo(c.Flags())
	c.AddCommand(children...)
	return c
}

// unknownCommand names the commands that were likely meant.
func unknownCommand(parent *cobra.Command, name string) error {
	hint := parent.CommandPath() + " --help"
	parent.SuggestionsMinimumDistance = 2
	// Any two letters are near to another short word: one that lacks two of them is not meant.
	near := slices.DeleteFunc(parent.SuggestionsFor(name), func(other string) bool {
		return len(other) < len(name)-1
	})
	if len(near) > 0 {
		for i, n := range near {
			near[i] = `"` + parent.CommandPath() + " " + n + `"`
		}
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return fault.New(fault.Usage, hint, "unknown command %q for %q", name, parent.CommandPath())
}
