package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/ui"
)

func newPsCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:               "ps [SERVICE...]",
		Short:             "List the app's pods",
		Example:           "perch ps\nperch ps web -o json",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("2 usage, 11 Compose file, 15 no cluster"),
	}, a.ps)
}

func (a *app) ps(ctx context.Context, services []string) error {
	l, err := a.live(ctx, services)
	if err != nil {
		return err
	}
	pods, err := l.client.Pods(ctx, l.namespace, l.all())
	if err != nil {
		return err
	}
	if len(services) > 0 {
		named := l.pods(services)
		pods = slices.DeleteFunc(pods, func(p kube.Pod) bool { return !slices.Contains(named, p.Service) })
	}
	if a.globals.quiet && a.globals.output == ui.FormatDefault {
		a.globals.output = ui.FormatName
	}
	return a.result(a.podTable(pods))
}

func (a *app) podTable(pods []kube.Pod) ui.Result {
	r := ui.Result{
		Header: []string{"SERVICE", "POD", "IMAGE", "STATE", "READY", "RESTARTS", "AGE", "PORTS"},
		Empty:  "no pods; start the app: perch up",
	}
	values := make([]kube.Pod, 0, len(pods)) // lists in JSON, not null
	for _, p := range pods {
		p.Ports = append([]string{}, p.Ports...)
		values = append(values, p)
		r.Names = append(r.Names, p.Name)
		r.Rows = append(r.Rows, []string{p.Service, p.Name, shortImage(p.Image), p.State, fmt.Sprintf("%d/%d", p.Ready, p.Total),
			strconv.Itoa(p.Restarts), ui.Age(a.env.Now().Sub(p.Created)), strings.Join(p.Ports, ", ")})
	}
	r.Value = values
	return r
}

// shortImage is an image's name as people write it.
func shortImage(ref string) string {
	ref = strings.TrimPrefix(ref, "docker.io/")
	return strings.TrimPrefix(ref, "library/")
}
