package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// exitChanges is how plan ends when there is something to do.
const exitChanges = 1

func newPlanCommand(a *app) *cobra.Command {
	f, out := upFlags{scale: scales{}}, ""
	c := &cobra.Command{
		Use:   "plan [SERVICE...]",
		Short: "Print what up would do, and why; exit code 1 when that is something",
		Example: "perch plan\nperch plan -o json\n" +
			"perch plan --out plan.json && perch up --plan plan.json   # exactly that, or nothing",
		Annotations:       exits("0 nothing to do, 1 changes, 2 usage, 10 build, 11 Compose file, 15 no cluster"),
		ValidArgsFunction: a.completeServices,
	}
	flags := c.Flags()
	flags.StringVar(&out, "out", "", "save the plan to a `file`, for up --plan")
	flags.BoolVar(&f.build, "build", false, "as up --build")
	flags.BoolVar(&f.forceRecreate, "force-recreate", false, "as up --force-recreate")
	flags.BoolVar(&f.removeOrphans, "remove-orphans", false, "as up --remove-orphans")
	f.to.addTo(flags)
	flags.Var(f.scale, "scale", "`SERVICE=N`: as up --scale")
	return a.command(c, func(ctx context.Context, services []string) error {
		p, err := up.MakePlan(ctx, f.options(a, services))
		a.warn(p.Warnings)
		a.closeProgress()
		if err != nil {
			return planFailed(err)
		}
		if out != "" {
			if err := savePlan(a.absolute(out), p); err != nil {
				return planFailed(err)
			}
		}
		if err := a.printPlan(p); err != nil {
			return planFailed(err)
		}
		if p.Changes {
			return commandExit(exitChanges)
		}
		return nil
	})
}

// planFailed keeps an error that has no exit code of its own from ending as 1, which means that there are changes.
func planFailed(err error) error {
	if codeOf(err).code == exitChanges {
		return &fault.Error{Kind: fault.Usage, Err: err, Hint: fault.HintOf(err)}
	}
	return err
}

func (a *app) printPlan(p up.Plan) error {
	if !a.globals.forPeople() {
		var names []string
		for _, s := range p.Steps {
			names = append(names, s.ID)
		}
		return a.result(ui.Result{Value: p, Names: names})
	}
	a.say("%s", strings.TrimRight(orElse(p.String(), "nothing would change"), "\n"))
	return nil
}

func savePlan(path string, p up.Plan) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

// readPlan reads a plan that was saved, and checks that it is for the same place.
func readPlan(path string, o up.Options) (up.Plan, error) {
	var p up.Plan
	data, err := os.ReadFile(path)
	if err != nil {
		return p, fault.New(fault.Usage, "save one: perch plan --out "+path, "%w", err)
	}
	if err := json.Unmarshal(data, &p); err != nil || p.Steps == nil {
		return p, fault.New(fault.Usage, "save one: perch plan --out "+path, "%s is no plan", path)
	}
	if p.Context != o.Kube.Context {
		return p, fault.New(fault.Usage, "add --context "+p.Context, "the plan is for context %q, not %q", p.Context, o.Kube.Context)
	}
	return p, nil
}
