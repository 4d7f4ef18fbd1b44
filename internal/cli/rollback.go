package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/schema"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// rollbackFlags are the flags of rollback.
type rollbackFlags struct {
	timeout, lockWait seconds
	historyMax        historyMax
}

func newRollbackCommand(a *app) *cobra.Command {
	f := rollbackFlags{timeout: seconds(5 * time.Minute), historyMax: defaultHistoryMax}
	c := &cobra.Command{
		Use:   "rollback [DEPLOY]",
		Short: "Bring the app back to how it was after an earlier deploy",
		Example: "perch rollback            # to the deploy before the newest one\n" +
			"perch rollback 3          # to a deploy of perch history\n" +
			"perch rollback --dry-run  # what it would do, and how the database differs",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeDeploy,
		Annotations:       exits("1 failed, 2 usage, 11 Compose file, 13 rollout, 15 no cluster, 16 locked"),
	}
	flags := c.Flags()
	flags.VarP(&f.timeout, "timeout", "t", "`time` a service may take to become ready, as 30s or 5m")
	flags.Var(&f.lockWait, "lock-wait", "`time` to wait for another deploy of this app to end, as 5m; without it, do not")
	flags.Var(&f.historyMax, "history-max", historyMaxUsage)
	return a.command(c, func(ctx context.Context, args []string) error {
		to := 0
		if len(args) > 0 {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return fault.New(fault.Usage, "see the deploys there are: perch history", "%q is no number of a deploy", args[0])
			}
			to = n
		}
		return a.rollback(ctx, f, to)
	})
}

func (a *app) rollback(ctx context.Context, f rollbackFlags, to int) error {
	o := a.upOptions(nil)
	o.Timeout, o.LockWait, o.HistoryMax = time.Duration(f.timeout), time.Duration(f.lockWait), int(f.historyMax)
	plan, err := up.PlanRollback(ctx, o, to)
	if err != nil {
		return err
	}
	if a.globals.dryRun {
		return a.printRollbackPlan(plan)
	}
	if plan.Changes() {
		for _, line := range schemaLines(plan) {
			a.note("%s", line)
		}
		if len(plan.Gaps) > 0 {
			if err := a.confirm(ctx, schemaQuestion(plan)); err != nil {
				return err
			}
		}
	}
	r := a.progress()
	if !plan.Changes() {
		for _, s := range plan.Services {
			r.Report(progress.Event{ID: "service " + s.Service, Status: progress.Same, Text: stepText(plan.To, s)})
		}
	}
	result, err := up.Rollback(ctx, o, plan, r)
	a.closeProgress()
	if err != nil {
		return err
	}
	return a.printRollback(result)
}

func (a *app) printRollbackPlan(plan up.RollbackPlan) error {
	if !a.globals.forPeople() {
		var names []string
		for _, s := range plan.Services {
			if s.Does == release.BringBack {
				names = append(names, s.Service)
			}
		}
		return a.result(ui.Result{Value: plan, Names: names})
	}
	width := 0
	for _, s := range plan.Services {
		width = max(width, len(s.Service))
	}
	for _, s := range plan.Services {
		a.say("%-9s  %-*s  %s", s.Does, width, s.Service, stepText(plan.To, s))
	}
	for _, line := range schemaLines(plan) {
		a.say("%s", line)
	}
	return nil
}

func (a *app) printRollback(r up.RollbackResult) error {
	if !a.globals.forPeople() {
		return a.result(ui.Result{Value: r, Names: []string{strconv.Itoa(r.Deploy)}})
	}
	changed := fmt.Sprintf("nothing changed, it is as after deploy %d", r.To)
	if r.Changed {
		changed = fmt.Sprintf("rolled back to deploy %d", r.To)
	}
	a.note("%s: context %s, namespace %s, deploy %d, revisions %s, %s", changed, r.Context, r.Namespace, r.Deploy, revisions(r.Revisions), a.took())
	a.note("next: perch history, perch ps, perch up")
	return nil
}

// stepText is what happens to a service.
func stepText(to int, s release.RollbackStep) string {
	switch s.Does {
	case release.Left:
		return fmt.Sprintf("left as it is: deploy %d did not have it", to)
	case release.Stays:
		return fmt.Sprintf("as it was after deploy %d", to)
	default:
		return fmt.Sprintf("revision %d → that of %d%s", s.Current, s.Revision, prefixed(", ", s.Version))
	}
}

// schemaLines say how databases differ from what they were after the deploy, and where that is not known.
func schemaLines(plan up.RollbackPlan) []string {
	var lines []string
	for _, g := range plan.Gaps {
		then := fmt.Sprintf("deploy %d had %s", plan.To, orElse(g.Recorded, "none"))
		switch g.Relation {
		case schema.Behind:
			lines = append(lines, fmt.Sprintf("service %s: the database is behind: %s %s, %s", g.Service, g.Tool, orElse(g.Present, "none"), then))
		case schema.Other:
			lines = append(lines, fmt.Sprintf("service %s: the database is another one: %s %s, %s", g.Service, g.Tool, g.Present, then))
		case schema.Ahead:
			lines = append(lines, fmt.Sprintf("service %s: the database is ahead: %s %s, %s", g.Service, g.Tool, g.Present, then))
			for _, m := range g.Migrations {
				lines = append(lines, "  "+m.String())
			}
		}
	}
	for _, service := range plan.Unknown {
		lines = append(lines, fmt.Sprintf("service %s: other migrations ran since deploy %d; what they changed in the database is not known", service, plan.To))
	}
	return lines
}

// schemaQuestion is what is asked before an old version meets another schema than it had.
func schemaQuestion(plan up.RollbackPlan) string {
	var each []string
	for _, g := range plan.Gaps {
		text := "differs"
		switch {
		case g.Relation == schema.Ahead && len(g.Migrations) == 1:
			text = "has 1 migration more"
		case g.Relation == schema.Ahead && len(g.Migrations) > 1:
			text = fmt.Sprintf("has %d migrations more", len(g.Migrations))
		case g.Relation != schema.Other:
			text = "is " + string(g.Relation)
		}
		each = append(each, fmt.Sprintf("the database of %s %s", g.Service, text))
	}
	return fmt.Sprintf("roll back to deploy %d, though %s", plan.To, strings.Join(each, " and "))
}

// defaultHistoryMax is how many revisions are kept.
const defaultHistoryMax = 10

const historyMaxUsage = "keep `N` revisions of each service, for rollback"

// historyMax is a number of revisions to keep: at least 2, since with one there is nothing to go back to.
type historyMax int

func (h *historyMax) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 {
		return errors.New("must be a number from 2")
	}
	*h = historyMax(n)
	return nil
}

func (h *historyMax) String() string { return strconv.Itoa(int(*h)) }
func (h *historyMax) Type() string   { return "int" }

// completeDeploy completes the numbers of deploys, the newest first, each with what is known of it.
func (a *app) completeDeploy(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.globals.fromEnvironment(a.env) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	deploys, err := up.History(cmd.Context(), a.upNames())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var numbers []string
	for i := len(deploys) - 1; i >= 0; i-- {
		if d := deploys[i]; d.Number > 0 {
			numbers = append(numbers, fmt.Sprintf("%d\t%s ago, %s", d.Number, ui.Age(a.env.Now().Sub(d.Time)), changedText(d)))
		}
	}
	return numbers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
