package up

import (
	"context"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/schema"
)

// RollbackPlan is what a rollback would do, and what is to be known before.
type RollbackPlan struct {
	release.Rollback
	Context string      `json:"context"`
	Gaps    []SchemaGap `json:"schema"`            // how databases differ from what they were then
	Unknown []string    `json:"unknown,omitempty"` // services whose migrations ran since then, when what they did is not known

	project *compose.Project // nil when the Compose file was not read
}

// SchemaGap is a difference of the database that a service uses.
type SchemaGap struct {
	Service string `json:"service"`
	schema.Gap
}

// RollbackResult is what a rollback did.
type RollbackResult struct {
	Project   string         `json:"project"`
	Namespace string         `json:"namespace"`
	Context   string         `json:"context"`
	Changed   bool           `json:"changed"`
	To        int            `json:"to"`        // the deploy that was brought back
	Deploy    int            `json:"deploy"`    // the number of the newest deploy
	Revisions map[string]int `json:"revisions"` // by service
}

// place is a project in a cluster.
type place struct {
	name, namespace string
	project         *compose.Project // nil when only a name was given
	client          *kube.Client
}

// find is the project's place in the cluster, which must run. As for Down, a project name given by flag is enough.
func find(ctx context.Context, o Options) (place, error) {
	p := place{name: o.Compose.ProjectName, namespace: compose.Name(o.Compose.ProjectName)}
	if p.name == "" || len(o.Compose.Files) > 0 {
		loaded, err := compose.Load(ctx, o.Compose)
		if err != nil {
			return p, err
		}
		p.name, p.namespace, p.project = loaded.Name, loaded.Namespace, loaded
	}
	if o.Kube.Namespace != "" {
		p.namespace = o.Kube.Namespace
	}
	if err := o.needRunning(ctx); err != nil {
		return p, err
	}
	client, err := kube.Load(o.Kube)
	p.client = client
	return p, err
}

// History is the deploys of the project, the oldest first.
func History(ctx context.Context, o Options) ([]release.Deploy, error) {
	p, err := find(ctx, o)
	if err != nil {
		return nil, err
	}
	return release.History(ctx, p.client, p.name, p.namespace)
}

// PlanRollback says what a rollback to a deploy would do; to 0 is the deploy before the newest one. Databases are asked whether
// they are as they were then.
func PlanRollback(ctx context.Context, o Options, to int) (RollbackPlan, error) {
	p, err := find(ctx, o)
	if err != nil {
		return RollbackPlan{}, err
	}
	rb, err := release.PlanRollback(ctx, p.client, p.name, p.namespace, to)
	plan := RollbackPlan{Rollback: rb, Context: o.Kube.Context, Gaps: []SchemaGap{}, project: p.project}
	if err != nil {
		return plan, err
	}
	for _, s := range rb.Services {
		if s.Does != release.BringBack || s.Schema == "" && !s.Migrated {
			continue
		}
		var present schema.State
		err := errNoDatabase
		if p.project != nil {
			present, err = databasesOf(p.client, p.project, p.namespace).state(ctx, s.Service)
		}
		if err != nil || s.Schema == "" {
			if s.Migrated {
				plan.Unknown = append(plan.Unknown, s.Service)
			}
			continue
		}
		for _, g := range schema.Compare(s.Schema, present) {
			plan.Gaps = append(plan.Gaps, SchemaGap{s.Service, g})
		}
	}
	return plan, nil
}

// Rollback does what the plan says. When something was deployed since it was made, nothing is done.
func Rollback(ctx context.Context, o Options, plan RollbackPlan, r progress.Reporter) (RollbackResult, error) {
	result := RollbackResult{Project: plan.Project, Namespace: plan.Namespace, Context: plan.Context, Changed: plan.Changes(), To: plan.To}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return result, err
	}
	options := release.ExecuteOptions{Timeout: o.Timeout, HistoryMax: o.HistoryMax, LockWait: o.LockWait}
	if plan.project != nil {
		options.Schema = databasesOf(client, plan.project, plan.Namespace).version
	}
	if result.Changed {
		if err := release.ExecuteRollback(ctx, client, plan.Rollback, r, options); err != nil {
			return result, err
		}
		keepBudget(ctx, o, client, r)
	}
	result.Revisions, result.Deploy, err = revisions(ctx, client, plan.Namespace)
	return result, err
}
