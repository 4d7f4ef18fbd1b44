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
	if a.globals.dryRun {
		a.say("would scale %s on context %s", to, a.contextName())
		return nil
	}
	if err := l.client.ScaleAndWait(ctx, workloads, to, a.progress()); err != nil {
		return err
	}
	a.closeProgress()
	a.note("scaled: %s, context %s, namespace %s, %s", to, a.contextName(), l.namespace, a.took())
	a.note("the next deploy of %s goes back to the number in the Compose file; to keep it, write scale: there",
		strings.Join(to.services(), " and "))
	return nil
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
