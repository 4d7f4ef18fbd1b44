package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// Rollback is what brings a project back to how it was after a deploy.
type Rollback struct {
	Project   string         `json:"project"`
	Namespace string         `json:"namespace"`
	To        int            `json:"to"`       // the deploy
	From      int            `json:"from"`     // the newest deploy
	Services  []RollbackStep `json:"services"` // by name
}

// RollbackStep is what a rollback does with one service.
type RollbackStep struct {
	Service  string         `json:"service"`
	Release  string         `json:"release"`
	Does     RollbackAction `json:"does"`
	Current  int            `json:"current"`            // Helm revision that is there
	Revision int            `json:"revision,omitempty"` // Helm revision that comes back
	Version  string         `json:"version,omitempty"`  // tag of that one's image
	Schema   string         `json:"schema,omitempty"`   // version of the database that that one began with; "" when it is not known
	Migrated bool           `json:"migrated,omitempty"` // the service has migrations, and others than that revision had
}

// RollbackAction is what happens to a service.
type RollbackAction string

// What a rollback does with a service.
const (
	BringBack RollbackAction = "rollback"  // an old revision is rolled out again
	Stays     RollbackAction = "unchanged" // it is as it was then
	Left      RollbackAction = "left"      // it was not there then, and is not removed
)

// Changes tells whether the rollback does anything.
func (rb Rollback) Changes() bool {
	return slices.ContainsFunc(rb.Services, func(s RollbackStep) bool { return s.Does == BringBack })
}

// PlanRollback says what a rollback to a deploy would do; to 0 is the deploy before the newest one. A deploy that there is not,
// or that can no longer be brought back since revisions of it are gone, is an error of kind fault.Usage that names those that
// can be had.
func PlanRollback(ctx context.Context, c *kube.Client, project, namespace string, to int) (Rollback, error) {
	all, err := revisions(ctx, c, namespace)
	if err != nil {
		return Rollback{}, c.Explain(err)
	}
	rb, err := planRollback(all, project, to)
	rb.Namespace = namespace
	return rb, err
}

// lineage is the kept revisions of one release, the oldest first.
type lineage []*helmrelease.Release

// at is the revision that was rolled out when a deploy was over: the newest one of a deploy up to it. nil when there is none.
// One that Perch did not make came after the deploy before it, and was there at the next.
func (l lineage) at(deploy int) *helmrelease.Release {
	var found *helmrelease.Release
	before := 0
	for _, rel := range l {
		first := before + 1
		if n := deployOf(rel); n > 0 {
			before, first = n, n
		}
		if first <= deploy && rolledOut(rel) {
			found = rel
		}
	}
	return found
}

// whole tells whether all revisions there ever were are kept: one that is not found in it never was.
func (l lineage) whole() bool { return l[0].Version == 1 }

func (l lineage) last() *helmrelease.Release { return l[len(l)-1] }

// oldest is the first deploy at which the release can be had, or known not to have been.
func (l lineage) oldest() int {
	if l.whole() {
		return 1
	}
	for _, rel := range l {
		if n := deployOf(rel); n > 0 && l.at(n) != nil {
			return n
		}
	}
	return 0
}

// lineages are the revisions of a project by release.
func lineages(all []*helmrelease.Release, project string) map[string]lineage {
	found := map[string]lineage{}
	for _, rel := range ofProject(all, project) {
		found[rel.Name] = append(found[rel.Name], rel)
	}
	for _, l := range found {
		slices.SortFunc(l, func(a, b *helmrelease.Release) int { return cmp.Compare(a.Version, b.Version) })
	}
	return found
}

// planRollback is PlanRollback without a cluster.
func planRollback(all []*helmrelease.Release, project string, to int) (Rollback, error) {
	found := lineages(all, project)
	newest := nextDeploy(all, project) - 1
	rb := Rollback{Project: project, To: to, From: newest}
	if to == 0 {
		rb.To = before(history(all, project))
	}
	if newest == 0 || rb.To == 0 {
		return rb, fault.New(fault.Usage, "see the deploys there are: perch history", "there is no deploy to go back to")
	}
	if rb.To < 0 || rb.To > newest {
		return rb, fault.New(fault.Usage, "see the deploys there are: perch history", "there is no deploy %d: the newest is %d", rb.To, newest)
	}
	oldest, gone := 1, ""
	for _, name := range slices.Sorted(maps.Keys(found)) {
		l := found[name]
		target := l.at(rb.To)
		if target == nil && !l.whole() && gone == "" {
			gone = serviceOf(l.last())
		}
		oldest = max(oldest, l.oldest())
		rb.Services = append(rb.Services, stepTo(l, target))
	}
	if gone != "" {
		return rb, fault.New(fault.Usage, "see the deploys there are: perch history; more are kept with perch up --history-max",
			"deploy %d cannot be brought back: the revision of service %s that it had is no longer kept; the oldest that can be had is %d",
			rb.To, gone, oldest)
	}
	slices.SortFunc(rb.Services, func(a, b RollbackStep) int { return strings.Compare(a.Service, b.Service) })
	return rb, nil
}

// before is the number of the deploy before the newest one, 0 when there is none.
func before(deploys []Deploy) int {
	newest, last := 0, 0
	for _, d := range deploys {
		if d.Number > 0 {
			newest, last = d.Number, newest
		}
	}
	if newest == 0 {
		return 0
	}
	return last
}

// stepTo is what is to be done with a service to have the target revision; nil is none.
func stepTo(l lineage, target *helmrelease.Release) RollbackStep {
	now := l.last()
	s := RollbackStep{Service: serviceOf(now), Release: now.Name, Does: BringBack, Current: now.Version}
	if target == nil {
		s.Does = Left
		return s
	}
	if now == target || now.Info.Status == helmstatus.StatusDeployed && sameContent(now, target) {
		s.Does = Stays
	}
	notes := target.Chart.Metadata.Annotations
	s.Revision, s.Version, s.Schema = target.Version, target.Chart.Metadata.AppVersion, notes[schemaAnnotation]
	s.Migrated = migrationsOf(target) != migrationsOf(now)
	return s
}

func sameContent(a, b *helmrelease.Release) bool {
	x, y := a.Chart.Metadata.Annotations[digestAnnotation], b.Chart.Metadata.Annotations[digestAnnotation]
	return x != "" && x == y || a.Manifest == b.Manifest
}

// migrationsOf are the names of a revision's migration Jobs.
func migrationsOf(rel *helmrelease.Release) string {
	var jobs []string
	for _, ref := range strings.Fields(rel.Chart.Metadata.Annotations[requiresAnnotation]) {
		if name, ok := strings.CutPrefix(ref, "Job/"); ok {
			jobs = append(jobs, name)
		}
	}
	return strings.Join(jobs, " ")
}

// errStale says that something happened between the plan of a rollback and the rollback.
var errStale = errors.New("another deploy ran in between")

// ExecuteRollback does what PlanRollback said, under the deploy lock: each service after those it depends on, and each is
// waited for until it is ready. Migrations do not run, and nothing is removed. It is a deploy of its own, with a number. When
// the plan no longer holds, nothing is done. Progress and errors are those of Execute.
func ExecuteRollback(ctx context.Context, c *kube.Client, rb Rollback, r progress.Reporter, o ExecuteOptions) error {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	l, ctx, err := acquire(ctx, c, rb.Namespace, locking{holder: o.Holder, wait: o.LockWait, report: r, pace: o.pace})
	if err != nil {
		return err
	}
	defer l.release(ctx)
	c = l.through
	all, err := revisions(ctx, c, rb.Namespace)
	if err != nil {
		return c.Explain(err)
	}
	now, err := planRollback(all, rb.Project, rb.To)
	now.Namespace = rb.Namespace
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(now, rb) {
		return fault.New(fault.Other, "look at it again: perch history", "rollback to deploy %d: %w", rb.To, errStale)
	}
	observed, err := Observe(ctx, c, rb.Project, rb.Namespace)
	if err != nil {
		return err
	}
	p, err := rb.plan(lineages(all, rb.Project), observed)
	if err != nil {
		return err
	}
	if err := ensureNamespace(ctx, c, p, r); err != nil {
		return err
	}
	h, err := newHelm(c, rb.Namespace, o.HistoryMax)
	if err != nil {
		return err
	}
	e := newExecutor(c, h, p, r, o)
	e.mark = mark{deploy: nextDeploy(all, rb.Project), rollbackTo: rb.To, holder: o.Holder.orThis()}
	return e.run(ctx)
}

// plan is the steps of a rollback.
func (rb Rollback) plan(found map[string]lineage, o Observed) (Plan, error) {
	p := Plan{Project: rb.Project, Namespace: rb.Namespace}
	targets := map[string]*helmrelease.Release{}
	var units []Unit
	var back []runtime.Object
	for _, s := range rb.Services {
		switch s.Does {
		case Stays:
			p.Steps = append(p.Steps, Step{ID: "unchanged " + s.Service, Kind: Unchanged, Service: s.Service})
			continue
		case Left:
			p.Steps = append(p.Steps, Step{
				ID: "unchanged " + s.Service, Kind: Unchanged, Service: s.Service, Cause: fmt.Sprintf("left as it is: deploy %d did not have it", rb.To),
			})
			continue
		case BringBack:
		}
		target := found[s.Release].at(rb.To)
		if err := configThere(target, o); err != nil {
			return p, fmt.Errorf("deploy %d: service %s: %w", rb.To, s.Service, err)
		}
		objects, err := objectsIn(target.Manifest)
		if err != nil {
			return p, fmt.Errorf("service %s: revision %d: %w", s.Service, target.Version, err)
		}
		u := Unit{Service: s.Service, Release: s.Release, Objects: objects, Foreign: target.Chart.Metadata.Annotations[foreignAnnotation]}
		for _, d := range strings.Fields(target.Chart.Metadata.Annotations[afterAnnotation]) {
			u.DependsOn = append(u.DependsOn, Dependency{Service: d, Condition: Healthy, Required: true})
		}
		units = append(units, u)
		targets[s.Service] = target
		back = append(back, objects...)
	}
	var err error
	if p.security, err = kube.SecurityOf(back); err != nil {
		return p, err
	}
	ordered, err := inOrder(units)
	if err != nil { // revisions of several versions of a file may depend on each other in a circle: then no order is right
		ordered = nil
		for i := range units {
			units[i].DependsOn = nil
			ordered = append(ordered, &units[i])
		}
	}
	for _, u := range ordered {
		p.Steps = append(p.Steps, rb.steps(u, targets, o.Releases[u.Release], o)...)
	}
	return p, nil
}

// steps bring one service back and wait for it.
func (rb Rollback) steps(u *Unit, targets map[string]*helmrelease.Release, in Installed, o Observed) []Step {
	target := targets[u.Service]
	id, wait := "rollback "+u.Service, "wait "+u.Service
	s := Step{
		ID: id, Kind: RollBack, Service: u.Service, Cause: fmt.Sprintf("rollback to %d", rb.To), unit: u,
		revision: target.Version, schema: migrationsOf(target) != "", clean: in.Status != "deployed",
		replace: rb.replaced(u, in, o),
	}
	for _, d := range u.DependsOn {
		if targets[d.Service] != nil {
			s.After = append(s.After, "wait "+d.Service)
		}
	}
	return []Step{s, {ID: wait, Kind: Wait, Service: u.Service, After: []string{id}, unit: u}}
}

// replaced are the objects that must be deleted before the old ones can come.
func (rb Rollback) replaced(u *Unit, in Installed, o Observed) []Ref {
	if u.Foreign != "" && in.Foreign != "" {
		return nil
	}
	return append(oldJobs(u, o), immutable(u, in)...)
}

// oldJobs are the live Jobs that must go before those of the unit can come: a Job cannot be changed.
func oldJobs(u *Unit, o Observed) []Ref {
	var refs []Ref
	for _, object := range u.Objects {
		if j, ok := object.(*batchv1.Job); ok && o.Jobs[j.Name] != nil {
			refs = append(refs, Ref{"Job", j.Name})
		}
	}
	return refs
}

// configThere is an error when a config object that a revision reads is gone, as when somebody deleted it.
func configThere(rel *helmrelease.Release, o Observed) error {
	for _, ref := range strings.Fields(rel.Chart.Metadata.Annotations[requiresAnnotation]) {
		kind, name, _ := strings.Cut(ref, "/")
		if _, there := o.Config[Ref{kind, name}]; kind != "Job" && !there {
			return fault.New(fault.Other, "roll back to another deploy, or bring the file back and run perch up",
				"%s %s, which it needs, is gone", strings.ToLower(kind), name)
		}
	}
	return nil
}

// objectsIn are the objects of a manifest.
func objectsIn(manifest string) ([]runtime.Object, error) {
	var objects []runtime.Object
	for _, doc := range strings.Split("\n"+manifest, "\n---") {
		if strings.TrimSpace(doc) == "" || documents(doc) == nil {
			continue
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
		if runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err) {
			continue // of a kind that Kubernetes does not come with, or nothing but comments: there is nothing to wait for
		}
		if err != nil {
			return nil, err
		}
		if list, ok := o.(*corev1.List); ok {
			for _, item := range list.Items {
				inside, err := objectsIn(string(item.Raw))
				if err != nil {
					return nil, err
				}
				objects = append(objects, inside...)
			}
			continue
		}
		objects = append(objects, o)
	}
	return objects, nil
}
