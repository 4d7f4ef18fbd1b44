package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/perch-k8s/perch/internal/fault"
)

// exitsKey is the annotation of a command that holds the exit codes it can end with, besides 0 and 130.
const exitsKey = "exit-codes"

// exits is the annotation for a command's exit codes, as numbers and words.
func exits(text string) map[string]string { return map[string]string{exitsKey: text} }

// addHelp gives the tree its help texts and the topics of `perch help`.
func (a *app) addHelp(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.writeHelp(a.env.Out, cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { a.writeHelp(a.env.Err, cmd); return nil })
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })
	root.SetHelpCommand(a.helpCommand(root))
}

// topics are the help pages that belong to no command.
func (a *app) topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit codes mean", Long: "Exit codes:\n\n" + exitText() +
			"\n`perch exec` and `perch run` end with the exit code of the command they ran, `perch kubectl` and\n" +
			"`perch helm` with that of kubectl and helm.\n"},
		{Use: "flags", Short: "The global flags and their environment variables", Long: a.flagsText()},
	}
}

func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	help := &cobra.Command{
		Use:     "help [COMMAND | TOPIC]",
		Short:   "Help about a command, exit-codes or flags",
		Example: "perch help exit-codes",
		GroupID: groupTools,
	}
	help.RunE = func(_ *cobra.Command, args []string) error {
		for _, topic := range a.topics() {
			if len(args) == 1 && args[0] == topic.Name() {
				_, err := io.WriteString(a.env.Out, topic.Long)
				return err
			}
		}
		cmd, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return unknownCommand(cmd, args[len(args)-max(1, len(rest))])
		}
		return cmd.Help()
	}
	help.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, c := range append(root.Commands(), a.topics()...) {
			if !c.Hidden {
				names = append(names, c.Name()+"\t"+c.Short)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return help
}

// writeHelp prints the help of one command: one sentence, how it is called, examples, its own flags, the exit codes.
func (a *app) writeHelp(w io.Writer, cmd *cobra.Command) {
	var b strings.Builder
	text := cmd.Short
	if cmd.Long != "" {
		text = cmd.Long
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", text, usageLine(cmd))
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", indent(cmd.Example))
	}
	for _, g := range cmd.Groups() {
		fmt.Fprintf(&b, "\n%s\n", g.Title)
		writeCommands(&b, cmd, g.ID)
	}
	if len(cmd.Groups()) == 0 && cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		writeCommands(&b, cmd, "")
	}
	if own := ownFlags(cmd); own.HasAvailableFlags() && cmd.HasParent() {
		fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsages())
	}
	b.WriteString("\n")
	if text := cmd.Annotations[exitsKey]; text != "" {
		fmt.Fprintf(&b, "Exit codes: 0 ok, %s, 130 interrupted.\n", text)
	}
	if !cmd.DisableFlagParsing {
		b.WriteString("Global flags, as -f FILE, -p NAME, --context NAME: perch help flags.\n")
	}
	if !cmd.HasParent() {
		b.WriteString("Help about a command: perch help COMMAND. Exit codes: perch help exit-codes.\n")
	}
	_, _ = io.WriteString(w, b.String())
}

func writeCommands(b *strings.Builder, parent *cobra.Command, group string) {
	for _, c := range inOrder(parent.Commands()) {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(b, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
}

// inOrder sorts commands by their place; those that have none keep theirs, by name.
func inOrder(commands []*cobra.Command) []*cobra.Command {
	sorted := slices.Clone(commands)
	slices.SortStableFunc(sorted, func(a, b *cobra.Command) int {
		return strings.Compare(a.Annotations[orderKey], b.Annotations[orderKey])
	})
	return sorted
}

func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	line := cmd.UseLine()
	return strings.TrimSpace(line)
}

// ownFlags are the flags that are a command's own, not global ones.
func ownFlags(cmd *cobra.Command) *pflag.FlagSet {
	own := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, global := f.Value.(*globalFlag); !global && f.Name != "help" {
			own.AddFlag(f)
		}
	})
	return own
}

// flagsText is the page about the global flags.
func (a *app) flagsText() string {
	set := pflag.NewFlagSet("global", pflag.ContinueOnError)
	set.SortFlags = false
	a.globals.addTo(set)
	return "Global flags, accepted before and after the command:\n\n" + set.FlagUsages() +
		"\nEach has an environment variable, which counts when the flag is not given: PERCH_ and the flag's name,\n" +
		"as PERCH_PROJECT_NAME. PERCH_FILE is a list as PATH is, PERCH_PROFILE and PERCH_ENV_FILE are separated by\n" +
		"commas. COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES, KUBECONFIG, NO_COLOR and CI\n" +
		"count as they do elsewhere.\n"
}

// flagError adds the flag that was likely meant.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help"
	if unknown, ok := err.(*pflag.NotExistError); ok { //nolint:errorlint // pflag returns it bare
		if near := nearest(unknown.GetSpecifiedName(), cmd.Flags()); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return fault.New(fault.Usage, hint, "%s: %w", cmd.CommandPath(), err)
}

// nearest is the flag whose name is at most two edits away, "" when there is none.
func nearest(name string, flags *pflag.FlagSet) string {
	best, distance := "", 3
	flags.VisitAll(func(f *pflag.Flag) {
		if d := edits(name, f.Name); d < distance && len(name) > 2 && !f.Hidden {
			best, distance = f.Name, d
		}
	})
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func indent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}
