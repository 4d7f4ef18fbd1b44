package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/ui"
)

// statsEvery is how often stats measures. Kubelets do not measure more often themselves.
const statsEvery = 2 * time.Second

func newStatsCommand(a *app) *cobra.Command {
	noStream := false
	c := &cobra.Command{
		Use:               "stats [SERVICE...]",
		Short:             "Show the CPU and memory that pods use, against their requests and limits",
		Example:           "perch stats\nperch stats web --no-stream -o json",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("2 usage, 11 Compose file, 15 no cluster"),
	}
	c.Flags().BoolVar(&noStream, "no-stream", false, "measure once; so it is too where there is no terminal to draw on")
	return a.command(c, func(ctx context.Context, services []string) error {
		l, err := a.live(ctx, services)
		if err != nil {
			return err
		}
		draws := a.globals.forPeople()
		if noStream || draws && !isTerminal(a.env.Out) || !draws && a.globals.output != ui.FormatJSON {
			used, err := l.stats(ctx, services)
			if err != nil {
				return err
			}
			return a.result(statsTable(used))
		}
		a.endsWithInterrupt()
		return a.streamStats(ctx, l, services, draws)
	})
}

// stats measures the pods of the named services, of all when none is named.
func (l live) stats(ctx context.Context, services []string) ([]kube.Usage, error) {
	used, err := l.client.Stats(ctx, l.namespace, l.all())
	if err != nil || len(services) == 0 {
		return used, err
	}
	named := l.pods(services)
	return slices.DeleteFunc(used, func(u kube.Usage) bool { return !slices.Contains(named, u.Service) }), nil
}

// streamStats goes on until Ctrl-C: a table that is drawn over itself, or JSON, a line each time.
func (a *app) streamStats(ctx context.Context, l live, services []string, draws bool) error {
	table := ui.Live{Out: a.env.Out, Size: func() (int, int) { return terminalSize(a.env.Out) }}
	for {
		used, err := l.stats(ctx, services)
		if ctx.Err() != nil {
			return commandExit(exitInterrupted)
		}
		if err != nil {
			return err
		}
		if draws {
			err = table.Draw(statsTable(used))
		} else {
			err = json.NewEncoder(a.env.Out).Encode(used)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return commandExit(exitInterrupted)
		case <-time.After(statsEvery):
		}
	}
}

func statsTable(used []kube.Usage) ui.Result {
	r := ui.Result{
		Header: []string{"SERVICE", "POD", "CPU", "REQUEST", "LIMIT", "CPU %", "MEMORY", "REQUEST", "LIMIT", "MEM %"}, Value: used,
		Empty: "no pod runs; start the app: perch up",
	}
	for _, u := range used {
		r.Names = append(r.Names, u.Pod)
		r.Rows = append(r.Rows, []string{
			u.Service, u.Pod, cores(u.CPU), orDash(u.CPURequest > 0, cores(u.CPURequest)), orDash(u.CPULimit > 0, cores(u.CPULimit)),
			percent(u.CPU, u.CPULimit), ui.Bytes(u.Memory), orDash(u.MemoryRequest > 0, ui.Bytes(u.MemoryRequest)),
			orDash(u.MemoryLimit > 0, ui.Bytes(u.MemoryLimit)), percent(float64(u.Memory), float64(u.MemoryLimit)),
		})
	}
	return r
}

// cores is CPU as Kubernetes writes it: thousandths below one core.
func cores(n float64) string {
	const thousandths = 1000
	if n < 1 {
		return fmt.Sprintf("%.0fm", n*thousandths)
	}
	return strconv.FormatFloat(n, 'f', 2, 64)
}

// percent is the part of a limit that is used.
func percent(used, limit float64) string {
	const whole = 100
	if limit <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", used/limit*whole)
}

func orDash(is bool, text string) string {
	if is {
		return text
	}
	return "-"
}
