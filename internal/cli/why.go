package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/ui"
)

// exitUnwell is how why ends when a service is not well.
const exitUnwell = 1

// causeAbsent is the cause of a service that is in the Compose file only.
const causeAbsent kube.Cause = "not deployed"

// causeElsewhere is that of a service which is provided: nobody here knows how it is.
const causeElsewhere kube.Cause = "elsewhere"

func newWhyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "why [SERVICE...]",
		Short: "Tell why services are not well: cause, event, last log lines, next command; exit code 1 when one is not",
		Example: "perch why\n" +
			"perch why web -o json",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("1 not well, 2 usage, 11 Compose file, 15 no cluster"),
	}
	return a.command(c, a.why)
}

func (a *app) why(ctx context.Context, services []string) error {
	l, err := a.live(ctx, services)
	if err != nil {
		return err
	}
	workloads, err := l.client.Workloads(ctx, l.namespace, l.selector())
	if err != nil {
		return err
	}
	migrations, err := l.client.Workloads(ctx, l.namespace, kube.Selector(l.namespace, "")+","+kube.ComponentLabel+"=migration")
	if err != nil {
		return err
	}
	wanted := l.pods(services)
	if len(services) == 0 && len(workloads) == 0 {
		wanted = l.pods(l.services) // nothing is deployed, and that is why
	}
	isWanted := func(w kube.Workload) bool { return len(wanted) == 0 || slices.Contains(wanted, w.Service) }
	workloads = slices.DeleteFunc(workloads, func(w kube.Workload) bool { return !isWanted(w) })
	found, err := l.client.Diagnose(ctx, slices.Concat(workloads, slices.DeleteFunc(migrations, func(w kube.Workload) bool { return !isWanted(w) })))
	if err != nil {
		return err
	}
	count := len(workloads)
	found = append(found[:count:count], slices.DeleteFunc(found[count:], func(d kube.Diagnosis) bool { return d.Well })...)
	for _, service := range slices.Sorted(maps.Keys(l.provided)) {
		if len(services) == 0 || slices.Contains(wanted, service) {
			found = append(found, kube.Diagnosis{
				Service: service, Cause: causeElsewhere, Well: true, Text: "it is provided from elsewhere, at " + l.provided[service] + ": how it is is not known here",
			})
		}
	}
	for _, service := range wanted {
		if len(ofService(workloads, service)) == 0 && l.provided[service] == "" {
			found = append(found, kube.Diagnosis{
				Service: service, Cause: causeAbsent, Text: "it is not deployed", Next: "perch up " + service,
			})
		}
	}
	slices.SortStableFunc(found, func(a, b kube.Diagnosis) int { return strings.Compare(a.Service, b.Service) })
	return a.printWhy(found)
}

func (a *app) printWhy(found []kube.Diagnosis) error {
	sick := slices.ContainsFunc(found, func(d kube.Diagnosis) bool { return !d.Well })
	if !a.globals.forPeople() {
		r := ui.Result{Value: found}
		for _, d := range found {
			if !d.Well {
				r.Names = append(r.Names, d.Service)
			}
		}
		if err := a.result(r); err != nil {
			return err
		}
	} else {
		if len(found) == 0 {
			a.say("nothing is deployed; start the app: perch up")
		}
		for _, d := range found {
			a.say("%s", whyText(d))
		}
	}
	if sick || len(found) == 0 {
		return commandExit(exitUnwell)
	}
	return nil
}

// whyText is a diagnosis for people.
func whyText(d kube.Diagnosis) string {
	if d.Cause == causeElsewhere {
		return fmt.Sprintf("service %s: %s", d.Service, d.Text)
	}
	if d.Well {
		return fmt.Sprintf("service %s: well, %d/%d ready", d.Service, d.Ready, d.Total)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "service %s: %s", d.Service, d.Text)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "\n  %-6s %s", name+":", text)
		}
	}
	if d.Cause != causeAbsent {
		line("ready", fmt.Sprintf("%d/%d", d.Ready, d.Total))
	}
	line("cause", string(d.Cause))
	line("pod", d.Pod)
	line("event", d.Event)
	if len(d.Log) > 0 {
		fmt.Fprintf(&b, "\n  log:")
		for _, text := range d.Log {
			fmt.Fprintf(&b, "\n    %s", ui.Clean(text))
		}
	}
	line("next", d.Next)
	return b.String()
}
