package release

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"

	"github.com/perch-k8s/perch/internal/kube"
)

// Deploy is one run of up or rollback that changed something, as far as kept revisions tell of it. A revision that Perch did
// not make, as by plain `helm rollback`, is a Deploy of its own with the number 0.
type Deploy struct {
	Number       int          `json:"deploy"`
	Time         time.Time    `json:"time"` // of its first revision
	By           string       `json:"by"`   // user@host
	Commit       string       `json:"commit"`
	RollbackTo   int          `json:"rollback_to,omitempty"` // the deploy that it brought back
	Schema       string       `json:"schema"`                // version of the database's schema that its services began with: "goose 2"
	SchemaBefore string       `json:"schema_before,omitempty"`
	Status       DeployStatus `json:"status"`
	Services     []Change     `json:"services"` // those that it changed, by name
}

// DeployStatus is how a deploy ended and what is left of it.
type DeployStatus string

// The states of a deploy.
const (
	DeployCurrent    DeployStatus = "deployed"    // one of its services runs as it was left
	DeployReplaced   DeployStatus = "superseded"  // none does
	DeployFailed     DeployStatus = "failed"      // the rollout of one of its services failed
	DeployTakenBack  DeployStatus = "rolled back" // the same, and what was there before was brought back
	DeployUnfinished DeployStatus = "pending"     // it is running, or was killed
)

// Change is what a deploy made of one service.
type Change struct {
	Service  string `json:"service"`
	Release  string `json:"release"`
	Revision int    `json:"revision"` // Helm's, the last one that the deploy made
	Version  string `json:"version"`  // tag of its image
	Status   string `json:"status"`   // as Helm has it
	Cause    string `json:"cause"`    // as `helm history` describes it
}

// History is the deploys of a project in a namespace that kept revisions tell of, the oldest first. project "" is any.
func History(ctx context.Context, c *kube.Client, project, namespace string) ([]Deploy, error) {
	all, err := revisions(ctx, c, namespace)
	if err != nil {
		return nil, c.Explain(err)
	}
	return history(all, project), nil
}

// history folds revisions into deploys. It is pure.
func history(all []*helmrelease.Release, project string) []Deploy {
	all = ofProject(all, project)
	slices.SortFunc(all, func(a, b *helmrelease.Release) int {
		return cmp.Or(cmp.Compare(serviceOf(a), serviceOf(b)), cmp.Compare(a.Version, b.Version))
	})
	numbered := map[int][]*helmrelease.Release{}
	var others []Deploy
	for _, rel := range all {
		if n := deployOf(rel); n > 0 {
			numbered[n] = append(numbered[n], rel)
			continue
		}
		others = append(others, deployMadeOf(0, []*helmrelease.Release{rel}))
	}
	deploys := make([]Deploy, 0, len(numbered)+len(others))
	for _, n := range slices.Sorted(maps.Keys(numbered)) {
		deploys = append(deploys, deployMadeOf(n, numbered[n]))
	}
	// Clocks of several machines made the times; among numbers they decide nothing.
	slices.SortStableFunc(others, func(a, b Deploy) int { return a.Time.Compare(b.Time) })
	for _, d := range others {
		at := slices.IndexFunc(deploys, func(other Deploy) bool { return other.Time.After(d.Time) })
		if at < 0 {
			at = len(deploys)
		}
		deploys = slices.Insert(deploys, at, d)
	}
	return deploys
}

func serviceOf(rel *helmrelease.Release) string {
	return rel.Chart.Metadata.Annotations[serviceAnnotation]
}

// deployMadeOf is the deploy of these revisions, which are sorted by service and number.
func deployMadeOf(number int, of []*helmrelease.Release) Deploy {
	d := Deploy{Number: number, Time: of[0].Info.LastDeployed}
	last := map[string]*helmrelease.Release{}
	var commits, after, before []string
	add := func(to *[]string, text string) {
		if text != "" && !slices.Contains(*to, text) {
			*to = append(*to, text)
		}
	}
	for _, rel := range of {
		notes := rel.Chart.Metadata.Annotations
		if rel.Info.LastDeployed.Before(d.Time) {
			d.Time = rel.Info.LastDeployed
		}
		if number > 0 {
			d.By = notes[byAnnotation]
			d.RollbackTo, _ = strconv.Atoi(notes[rollbackAnnotation])
			add(&after, notes[schemaAnnotation])
			add(&before, notes[beforeAnnotation])
		}
		if rel.Info.RollbackRevision == 0 || d.RollbackTo > 0 || number == 0 { // what was taken back to is of another deploy
			add(&commits, notes[commitAnnotation])
		}
		last[rel.Name] = rel
	}
	d.Commit, d.Schema, d.SchemaBefore = strings.Join(commits, ", "), strings.Join(after, ", "), strings.Join(before, ", ")
	for _, name := range slices.Sorted(maps.Keys(last)) {
		rel := last[name]
		d.Services = append(d.Services, Change{
			Service: serviceOf(rel), Release: name, Revision: rel.Version, Version: rel.Chart.Metadata.AppVersion,
			Status: rel.Info.Status.String(), Cause: rel.Info.Description,
		})
	}
	d.Status = statusOf(d, last)
	return d
}

// statusOf is the worst that can be said of a deploy by the last revision of each of its services.
func statusOf(d Deploy, last map[string]*helmrelease.Release) DeployStatus {
	pending, failed, back, current := false, false, false, false
	for _, rel := range last {
		switch {
		case rel.Info.Status.IsPending():
			pending = true
		case !rolledOut(rel):
			failed = true
		case rel.Info.RollbackRevision > 0 && d.RollbackTo == 0 && d.Number > 0:
			back = true
		}
		current = current || rel.Info.Status == helmstatus.StatusDeployed
	}
	switch {
	case pending:
		return DeployUnfinished
	case failed:
		return DeployFailed
	case back:
		return DeployTakenBack
	case current:
		return DeployCurrent
	}
	return DeployReplaced
}

// failedWords begin the description of a revision that failed, in Helm's pkg/action and in repair. The status alone does not
// tell: Helm marks a failed first revision as superseded by the next one.
var failedWords = regexp.MustCompile(`^((Release|Upgrade|Rollback) ".*" failed: |` + interrupted + `$)`)

// interrupted is the description of a revision whose run was killed.
const interrupted = "interrupted"

// rolledOut tells whether a revision once ran as it should.
func rolledOut(rel *helmrelease.Release) bool {
	s := rel.Info.Status
	return (s == helmstatus.StatusDeployed || s == helmstatus.StatusSuperseded) && !failedWords.MatchString(rel.Info.Description)
}
