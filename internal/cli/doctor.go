package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/node/preflight"
	"github.com/perch-k8s/perch/internal/ui"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct{ fix, verbose, online bool }

func newDoctorCommand(a *app) *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:         "doctor",
		Short:       "Say what this machine lacks for the cluster and what is risky, with the cure of each",
		Example:     "sudo perch doctor\nsudo perch doctor --fix\nperch doctor --verbose --online",
		Args:        cobra.NoArgs,
		Annotations: exits("1 something is missing, 2 usage"),
	}
	flags := c.Flags()
	flags.BoolVar(&f.fix, "fix", false, "do what is safe: load modules, raise limits until the next boot, remove what killed clusters left")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "tell what is in order too")
	flags.BoolVar(&f.online, "online", false, "ask the registry too, for 2 seconds")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.doctor(ctx, f) })
}

// doctorJSON is what `perch doctor -o json` prints.
type doctorJSON struct {
	Findings []preflight.Finding `json:"findings"`
	Fixed    []fixJSON           `json:"fixed"`
}

// fixJSON is one command that --fix ran.
type fixJSON struct {
	Command string `json:"command"`
	Error   string `json:"error,omitempty"`
}

func (a *app) doctor(ctx context.Context, f doctorFlags) error {
	cluster := a.cluster()
	findings, err := cluster.Doctor(ctx, f.online)
	if err != nil {
		return err
	}
	fixed := []fixJSON{}
	if f.fix {
		fixed = a.fix(ctx, findings)
	}
	if len(fixed) > 0 && !a.globals.dryRun {
		if findings, err = cluster.Doctor(ctx, f.online); err != nil {
			return err
		}
	}
	if err := a.doctorResult(findings, fixed, f.verbose); err != nil {
		return err
	}
	lost := 0
	for _, one := range findings {
		if one.State == preflight.Missing {
			lost++
		}
	}
	if lost > 0 {
		return fault.New(fault.Other, "do what is said as cure, then: perch doctor", "the node cannot run on this machine: missing is %s", counted(lost, "thing"))
	}
	return nil
}

// fix makes the repairs, or says what they would be, and tells each command as it is run.
func (a *app) fix(ctx context.Context, findings []preflight.Finding) []fixJSON {
	fixed := []fixJSON{}
	if a.globals.dryRun {
		for _, f := range findings {
			for _, r := range f.Repairs {
				a.note("would run: %s", r.Command)
				fixed = append(fixed, fixJSON{Command: r.Command})
			}
		}
		return fixed
	}
	node.Repair(ctx, findings, func(command string, err error) {
		one := fixJSON{Command: command}
		if err != nil {
			one.Error = err.Error()
			a.note("ran: %s: %s", command, one.Error)
		} else {
			a.note("ran: %s", command)
		}
		fixed = append(fixed, one)
	})
	return fixed
}

// doctorResult prints the findings: for people only what is not in order, unless more is wanted.
func (a *app) doctorResult(findings []preflight.Finding, fixed []fixJSON, verbose bool) error {
	told := slices.DeleteFunc(slices.Clone(findings), func(f preflight.Finding) bool { return f.State == preflight.OK && !verbose })
	if !a.globals.forPeople() {
		var names []string
		for _, f := range told {
			names = append(names, f.Check)
		}
		return a.result(ui.Result{Names: names, Value: doctorJSON{findings, fixed}})
	}
	a.closeProgress()
	width := 0
	if isTerminal(a.env.Out) {
		width, _ = terminalSize(a.env.Out)
	}
	_, err := fmt.Fprint(a.env.Out, findingsText(told, width))
	if err == nil && len(told) == 0 {
		a.say("nothing is missing: %d checks", len(findings))
	}
	return err
}

// findingsText is the findings for people, each with its cure on a line of its own, which is not folded: it is there to be
// copied. width is that of the terminal, 0 where there is none.
func findingsText(findings []preflight.Finding, width int) string {
	const state, gap = len("missing"), 3
	name := 0
	for _, f := range findings {
		name = max(name, len(f.Check))
	}
	indent := state + gap + name + gap
	var b strings.Builder
	for _, f := range findings {
		what := f.What
		if width > 0 {
			what = ui.Fold(what, max(width-indent, indent))
		}
		for i, line := range strings.Split(what, "\n") {
			if i == 0 {
				fmt.Fprintf(&b, "%-*s%-*s%s\n", state+gap, f.State, name+gap, f.Check, ui.Clean(line))
				continue
			}
			fmt.Fprintf(&b, "%*s%s\n", indent, "", ui.Clean(strings.TrimLeft(line, " ")))
		}
		if f.Cure != "" {
			fmt.Fprintf(&b, "%*scure: %s\n", indent, "", f.Cure)
		}
	}
	return b.String()
}

// counted is a number with its noun, as "1 thing" and "2 things".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
