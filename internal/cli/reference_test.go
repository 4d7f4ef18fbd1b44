package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go test . -run TestReference -update

var update = flag.Bool("update", false, "write the reference pages and golden files anew")

const referenceDir = "../../docs/reference"

// TestReference sees that docs/reference says what the commands say. `go generate ./internal/cli` writes it anew.
func TestReference(t *testing.T) {
	t.Parallel()
	pages := reference()
	if *update {
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(referenceDir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(referenceDir, name))
		if err != nil {
			t.Errorf("%v (go generate ./internal/cli)", err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what the command says (go generate ./internal/cli) -want +got:\n%s", name, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(referenceDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := pages[filepath.Base(file)]; !ok {
			t.Errorf("%s is of no command: remove it", file)
		}
	}
}

// TestHelp holds every command to what the style guide asks of its help: one sentence, an example, on one screen.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands(testApp(t).root()) {
		path := cmd.CommandPath()
		var b strings.Builder
		testApp(t).writeHelp(&b, cmd)
		limit := 40
		if !cmd.HasParent() {
			limit = 50 // a line for each command
		}
		if lines := strings.Count(b.String(), "\n"); lines > limit {
			t.Errorf("%s: %d lines of help do not fit a screen", path, lines)
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > 121 {
				t.Errorf("%s: line of %d characters: %s", path, len(line), line)
			}
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || cmd.Example == "" {
			t.Errorf("%s: Short %q, Example %q", path, cmd.Short, cmd.Example)
		}
	}
}

func testApp(t *testing.T) *app {
	t.Helper()
	return &app{env: Env{Out: os.Stdout, Err: os.Stderr, Now: time.Now}, globals: newGlobals()}
}

// commands are all visible commands, parents first.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden {
			all = append(all, commands(c)...)
		}
	}
	return all
}

// reference is every page by its file name.
func reference() map[string]string {
	a := &app{env: Env{Now: time.Now}, globals: newGlobals()}
	root := a.root()
	pages := map[string]string{}
	for _, c := range commands(root) {
		pages[pageName(c)] = page(c)
	}
	pages["exit-codes.md"] = "# Exit codes\n\n" + generated + exitPage()
	pages["flags.md"] = "# Global flags\n\n" + generated +
		"Accepted before and after the command. Each has an environment variable, which counts when the flag is not given.\n\n" +
		flagTable(globalSet(a), true) +
		"\n`PERCH_FILE` is a list as `PATH` is; `PERCH_PROFILE` and `PERCH_ENV_FILE` are separated by commas. `COMPOSE_FILE`,\n" +
		"`COMPOSE_PROJECT_NAME`, `COMPOSE_PROFILES`, `COMPOSE_ENV_FILES`, `KUBECONFIG`, `NO_COLOR` and `CI` count as they do\n" +
		"elsewhere. `PERCH_STATE_DIR` is the folder that clusters are kept in, one folder each; it is /var/lib/perch.\n" +
		"`PERCH_AGE_IDENTITY` is a file with a private key for [secrets](../secrets.md).\n"
	return pages
}

const generated = "<!-- Written by `go generate ./internal/cli`. Change the command, not this page. -->\n\n"

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") + ".md" }

func page(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s%s.\n\n```\n%s\n```\n", c.CommandPath(), generated, c.Short, usageLine(c))
	if c.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```sh\n%s\n```\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("\n## Commands\n\n| command | what it does |\n|---|---|\n")
		for _, child := range inOrder(c.Commands()) {
			if child.IsAvailableCommand() {
				fmt.Fprintf(&b, "| [%s](%s) | %s |\n", child.CommandPath(), pageName(child), child.Short)
			}
		}
	}
	if own := ownFlags(c); own.HasAvailableFlags() {
		b.WriteString("\n## Flags\n\n" + flagTable(own, false))
	}
	if text := c.Annotations[exitsKey]; text != "" {
		fmt.Fprintf(&b, "\nExit codes: 0 ok, %s, 130 interrupted. See [exit codes](exit-codes.md).\n", strings.ReplaceAll(text, "\n", " "))
	}
	if !c.DisableFlagParsing {
		b.WriteString("\nThe [global flags](flags.md) are accepted too.\n")
	}
	return b.String()
}

func globalSet(a *app) *pflag.FlagSet {
	set := pflag.NewFlagSet("global", pflag.ContinueOnError)
	a.globals.addTo(set)
	return set
}

func flagTable(set *pflag.FlagSet, env bool) string {
	var b strings.Builder
	b.WriteString("| flag | what it does |")
	if env {
		b.WriteString(" environment |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", btoi(env)) + "\n")
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "`--" + strings.TrimSpace(f.Name+" "+value) + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		if !slices.Contains([]string{"", "false", "[]", "0"}, f.DefValue) {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, "| %s | %s |", name, usage)
		if g, ok := f.Value.(*globalFlag); ok && env {
			fmt.Fprintf(&b, " `%s` |", g.env())
		}
		b.WriteString("\n")
	})
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func exitPage() string {
	var b strings.Builder
	b.WriteString("They are an interface: a number is never given another meaning. `perch help exit-codes` prints them.\n\n")
	b.WriteString("| code | name in JSON | meaning |\n|---|---|---|\n| 0 | | ok: done, or nothing was to be done |\n")
	for _, c := range exitCodes() {
		fmt.Fprintf(&b, "| %d | `%s` | %s |\n", c.code, c.name, c.meaning)
	}
	b.WriteString("| 130 | `interrupted` | interrupted by Ctrl-C or a termination signal |\n\n")
	b.WriteString("`perch exec` and `perch run` end with the exit code of the command they ran, `perch kubectl` and `perch helm` with\n" +
		"that of kubectl and helm. When several things failed side by side, the first one decides.\n\n")
	b.WriteString("With `-o json`, an error is one JSON object on stderr: `error` with `message`, `kind` (the name above), `exitCode` and,\n" +
		"where there is one, `hint`, `output` (the last lines that the failing thing printed) and `problems` (of a Compose file,\n" +
		"each with `file`, `line`, `column`, `path`, `message`, `hint`); and `more`, a list of the same, for what failed beside it.\n")
	return b.String()
}
