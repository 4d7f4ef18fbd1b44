package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/ui"
)

func newPortCommand(a *app) *cobra.Command {
	protocol := "tcp"
	c := &cobra.Command{
		Use:               "port SERVICE [PRIVATE_PORT]",
		Short:             "Print where a service's ports answer on this machine",
		Example:           "perch port web 8080\nperch port web          # all of them",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeFirstService,
		Annotations:       exits("1 not published, 2 usage, 11 Compose file, 15 no cluster"),
	}
	c.Flags().StringVar(&protocol, "protocol", "tcp", "`name` of the protocol: tcp or udp")
	return a.command(c, func(ctx context.Context, args []string) error {
		protocol := strings.ToLower(protocol)
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return fault.New(fault.Usage, "one of: tcp, udp", "unknown protocol %q", protocol)
		}
		private := 0
		if len(args) > 1 {
			number, after, has := strings.Cut(args[1], "/")
			if has && !c.Flags().Changed("protocol") {
				protocol = after
			}
			var err error
			if private, err = strconv.Atoi(number); err != nil || private < 1 || private > 65535 {
				return fault.New(fault.Usage, "a number, as 8080", "%q is no port", args[1])
			}
		}
		return a.port(ctx, args[0], private, protocol)
	})
}

// port prints the published ports of a service; with a private port, where that one answers.
func (a *app) port(ctx context.Context, service string, private int, protocol string) error {
	l, err := a.live(ctx, []string{service})
	if err != nil {
		return err
	}
	all, err := l.published(ctx, service)
	if err != nil {
		return err
	}
	if private > 0 {
		all = slices.DeleteFunc(all, func(p kube.PublishedPort) bool { return int(p.Private) != private || p.Protocol != protocol })
		if len(all) == 0 {
			return fault.New(fault.Other, fmt.Sprintf("publish it under ports: in the Compose file, then perch up %s", service),
				"service %s: port %d/%s is not published", service, private, protocol)
		}
	}
	if len(all) == 0 {
		return fault.New(fault.Other, fmt.Sprintf("publish them under ports: in the Compose file, then perch up %s", service),
			"service %s: no port is published", service)
	}
	if i := slices.IndexFunc(all, func(p kube.PublishedPort) bool { return p.Host == "" }); i >= 0 {
		return fault.New(fault.Other, "see why: perch kubectl describe service -n "+l.namespace,
			"service %s: port %d has no address yet", service, all[i].Published)
	}
	r := ui.Result{Value: all}
	for _, p := range all {
		r.Names = append(r.Names, address(p))
	}
	if !a.globals.forPeople() {
		return a.result(r)
	}
	for _, p := range all {
		if private > 0 {
			a.say("%s", address(p))
			continue
		}
		a.say("%d/%s -> %s", p.Private, p.Protocol, address(p))
	}
	return nil
}

// address is where a port answers: "127.0.0.1:8080".
func address(p kube.PublishedPort) string {
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Published)))
}

// completeFirstService completes a service, and nothing after it.
func (a *app) completeFirstService(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeServices(cmd, args, to)
}
