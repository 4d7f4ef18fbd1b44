package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// scales is SERVICE=N, of a flag that can be repeated.
type scales map[string]int

// mostReplicas is a bound against a slip of the finger; a node runs 110 pods.
const mostReplicas = 10000

// Set implements pflag.Value.
func (s scales) Set(text string) error {
	service, number, ok := strings.Cut(text, "=")
	n, err := strconv.Atoi(number)
	if !ok || service == "" || err != nil || n < 0 || n > mostReplicas {
		return fmt.Errorf("%q must be SERVICE=NUMBER, as web=3", text)
	}
	s[service] = n
	return nil
}

// String implements pflag.Value.
func (s scales) String() string {
	var all []string
	for _, service := range s.services() {
		all = append(all, fmt.Sprintf("%s=%d", service, s[service]))
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (s scales) Type() string { return "SERVICE=N" }

func (s scales) services() []string { return slices.Sorted(maps.Keys(s)) }

func newScaleCommand(a *app) *cobra.Command {
	timeout := seconds(5 * time.Minute)
	c := &cobra.Command{
		Use:               "scale SERVICE=N...",
		Short:             "Change how many pods services have, until the next deploy of them",
		Example:           "perch scale web=3\nperch scale web=3 worker=0",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeScale,
		Annotations:       exits("2 usage, 11 Compose file, 13 rollout, 15 no cluster"),
	}
	c.Flags().VarP(&timeout, "timeout", "t", "`time` the pods may take to become ready, as 30s or 5m")
	c.Flags().Bool("no-deps", true, "taken for docker compose's sake: nothing else is started")
	_ = c.Flags().MarkHidden("no-deps")
	return a.command(c, func(ctx context.Context, args []string) error {
		to := scales{}
		for _, arg := range args {
			if err := to.Set(arg); err != nil {
				return fault.New(fault.Usage, "perch scale --help", "%w", err)
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout))
		defer cancel()
		return a.scale(ctx, to)
	})
}

func (a *app) scale(ctx context.Context, to scales) error {
	l, err := a.live(ctx, to.services())
	for _, service := range to.services() {
		if host := l.pod(service); host != service { // told without a cluster too
			return fault.New(fault.Usage, "perch scale "+host+"=N", "service %q runs in the pods of %s", service, host)
		}
	}
	if err != nil {
		return err
	}
	workloads, err := l.workloads(ctx, to.services())
	if err != nil {
		return err
	}
	owned, err := a.autoscaled(ctx, l, workloads, to)
	if err != nil {
		return err
	}
	if a.globals.dryRun {
		a.say("would scale %s on context %s", to, a.contextName())
		return nil
	}
	if err := l.client.ScaleAndWait(ctx, workloads, to, a.progress()); err != nil {
		return err
	}
	a.closeProgress()
	a.note("scaled: %s, context %s, namespace %s, %s", to, a.contextName(), l.namespace, a.took())
	if fixed := slices.DeleteFunc(to.services(), func(s string) bool { return owned[s] }); len(fixed) > 0 {
		a.note("the next deploy of %s goes back to the number in the Compose file; to keep it, write scale: there", strings.Join(fixed, " and "))
	}
	return nil
}

// autoscaled are the services whose number of pods an autoscaler owns. It would undo at once what is not within its bounds, so
// that is refused; none at all is within them, as an autoscaler rests then.
func (a *app) autoscaled(ctx context.Context, l live, workloads []kube.Workload, to scales) (map[string]bool, error) {
	owners, err := l.client.Autoscalers(ctx, l.namespace)
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{}
	for _, w := range workloads {
		for _, o := range owners {
			if !strings.EqualFold(o.Workload.Kind, w.Kind()) || o.Workload.Name != w.Name() {
				continue
			}
			n := to[w.Service]
			owned[w.Service] = true
			switch {
			case n == 0:
				a.note("%s: its autoscaler rests until there are pods again: perch scale %s=%d", w.Service, w.Service, o.Min)
			case n < int(o.Min) || n > int(o.Max):
				return nil, fault.New(fault.Usage, "change min and max of x-perch.autoscale, and perch up",
					"service %q: its autoscaler has %d to %d pods, and would undo this", w.Service, o.Min, o.Max)
			default:
				a.note("%s: its autoscaler goes on from there by load, within %d to %d pods", w.Service, o.Min, o.Max)
			}
		}
	}
	return owned, nil
}

// completeScale completes the names of services up to the number.
func (a *app) completeScale(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	var named []string
	for _, arg := range args {
		service, _, _ := strings.Cut(arg, "=")
		named = append(named, service)
	}
	names, directive := a.completeServices(cmd, named, to)
	for i := range names {
		names[i] += "="
	}
	return names, directive | cobra.ShellCompDirectiveNoSpace
}
