package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

func newHistoryCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:               "history [SERVICE...]",
		Short:             "List the app's deploys: when, who, which commit, what changed",
		Example:           "perch history\nperch history web -o json\nperch helm history kube-native-web  # the same revisions, by release",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("2 usage, 11 Compose file, 15 no cluster"),
	}, a.history)
}

func (a *app) history(ctx context.Context, services []string) error {
	if len(services) > 0 {
		d, err := a.deployed(ctx)
		if err != nil {
			return err
		}
		if err := checkServices(services, d.services); err != nil {
			return err
		}
		services = d.pods(services)
	}
	deploys, err := up.History(ctx, a.upNames())
	if err != nil {
		return err
	}
	if len(services) > 0 {
		deploys = slices.DeleteFunc(deploys, func(d release.Deploy) bool {
			return !slices.ContainsFunc(d.Services, func(s release.Change) bool { return slices.Contains(services, s.Service) })
		})
	}
	return a.result(a.historyTable(deploys))
}

func (a *app) historyTable(deploys []release.Deploy) ui.Result {
	r := ui.Result{
		Header: []string{"DEPLOY", "AGE", "BY", "COMMIT", "CHANGED", "SCHEMA", "STATUS"},
		Empty:  "no deploys; start the app: perch up",
	}
	for _, d := range deploys {
		number := "-"
		if d.Number > 0 {
			number = strconv.Itoa(d.Number)
			r.Names = append(r.Names, number)
		}
		r.Rows = append(r.Rows, []string{
			number, ui.Age(a.env.Now().Sub(d.Time)), orElse(d.By, "-"), orElse(d.Commit, "-"), changedText(d), orElse(d.Schema, "-"), statusText(d),
		})
	}
	r.Value = append([]release.Deploy{}, deploys...) // a list in JSON, not null
	return r
}

// changedText is the services of a deploy, each with the tag of its image and its Helm revision.
func changedText(d release.Deploy) string {
	each := make([]string, len(d.Services))
	for i, s := range d.Services {
		each[i] = fmt.Sprintf("%s %s (%d)", s.Service, orElse(s.Version, "-"), s.Revision)
	}
	return strings.Join(each, ", ")
}

// statusText is the status of a deploy, and what it was when that was no up.
func statusText(d release.Deploy) string {
	text := string(d.Status)
	switch {
	case d.RollbackTo > 0:
		text += fmt.Sprintf(": rollback to %d", d.RollbackTo)
	case d.Number == 0 && len(d.Services) > 0:
		text += ": not by perch: " + d.Services[0].Cause
	}
	return text
}
