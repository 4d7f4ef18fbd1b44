package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
)

// tail is how many lines to begin with; "all" is -1.
type tail int64

func (t *tail) Set(text string) error {
	if text == "all" {
		*t = -1
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return errors.New(`must be a number of lines or "all"`)
	}
	*t = tail(n)
	return nil
}

func (t *tail) String() string {
	if *t < 0 {
		return "all"
	}
	return strconv.FormatInt(int64(*t), 10)
}

func (t *tail) Type() string { return "lines" }

// since is how far back a log goes: a duration, or the time it begins at.
type since struct {
	now func() time.Time
	ago time.Duration
}

func (s *since) Set(text string) error {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		s.ago = d
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errors.New("must be a duration, as 10m, or a time, as 2006-01-02T15:04:05Z")
	}
	s.ago = max(s.now().Sub(at), time.Second)
	return nil
}

func (s *since) String() string {
	if s.ago == 0 {
		return ""
	}
	return s.ago.String()
}

func (s *since) Type() string { return "time" }

func newLogsCommand(a *app) *cobra.Command {
	var o kube.LogOptions
	lines, from := tail(-1), since{now: a.env.Now}
	noPrefix := false
	c := &cobra.Command{
		Use:               "logs [SERVICE...]",
		Short:             "Print the logs of the app's pods, each line after its pod's name",
		Example:           "perch logs -f web\nperch logs --since 10m --tail 100",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("2 usage, 11 Compose file, 15 no cluster"),
	}
	flags := c.Flags()
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is printed from now on, until Ctrl-C")
	flags.Var(&lines, "tail", "`lines` of each container to begin with, or all")
	flags.Var(&from, "since", "begin at a `time`: 10m ago, or 2006-01-02T15:04:05Z")
	flags.BoolVarP(&o.Timestamps, "timestamps", "t", false, "put the time before each line")
	flags.BoolVar(&noPrefix, "no-log-prefix", false, "leave the pods' names out")
	return a.command(c, func(ctx context.Context, services []string) error {
		l, err := a.live(ctx, services)
		if err != nil {
			return err
		}
		o.Namespace, o.Selector = l.namespace, l.all()
		o.Tail, o.Since = int64(lines), from.ago
		for _, s := range l.pods(services) {
			if l.provided[s] != "" {
				return l.notElsewhere(s, "its provider has its logs")
			}
			if release := l.releases[s]; release != "" {
				o.Releases = append(o.Releases, release)
				continue
			}
			o.Services = append(o.Services, compose.Name(s))
		}
		for _, s := range l.others(services) {
			o.Except = append(o.Except, compose.Name(s))
		}
		if o.Follow {
			a.endsWithInterrupt()
		}
		if err := l.client.Logs(ctx, o, a.logPrinter(noPrefix)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return commandExit(exitInterrupted)
		}
		return nil
	})
}

// logPrinter prints log lines to the command's output, a name of the pod before each, in a colour of its own.
func (a *app) logPrinter(noPrefix bool) func(pod, container, text string) {
	if noPrefix {
		return func(_, _, text string) { _, _ = fmt.Fprintln(a.env.Out, text) }
	}
	p := logPrefix{out: a.env.Out, color: a.globals.color.Colors(a.env.around(a.env.Out))}
	return p.print
}

// logPrefix writes lines after the name of their pod: "web-x7k2p | text". Names are filled to the widest so far, but for those
// that would push all others' lines out of sight.
type logPrefix struct {
	out   io.Writer
	color bool
	width int
}

func (p *logPrefix) print(pod, container, text string) {
	const widest = 32
	name := podName(pod, container)
	if len(name) <= widest {
		p.width = max(p.width, len(name))
	}
	head := fmt.Sprintf("%-*s | ", p.width, name)
	if p.color {
		colors := []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}
		h := fnv.New32a()
		_, _ = h.Write([]byte(name)) // it never fails
		head = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colors[h.Sum32()%uint32(len(colors))], head)
	}
	_, _ = fmt.Fprintf(p.out, "%s%s\n", head, text)
}

// podName is a short name for a container of a pod: the container's, which is the service's, and the last part of the
// pod's name, which tells the replicas apart. The container of a migration has not the service's name; its pod has both.
func podName(pod, container string) string {
	if before, _, found := strings.Cut(pod, "-"+container+"-"); found && strings.HasPrefix(container, "pre-start-") {
		container = before + "-" + container
	}
	return container + "-" + pod[strings.LastIndexByte(pod, '-')+1:]
}
