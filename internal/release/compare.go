package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/kube"
)

// ErrCycle is in the tree of the error for services that wait for each other.
var ErrCycle = errors.New("services depend on each other in a circle")

// Compare makes the plan. It is pure: the same arguments give the same plan.
func Compare(w Wanted, o Observed) (Plan, error) {
	units, err := inOrder(w.Units)
	if err != nil {
		return Plan{}, err
	}
	p := &planner{wanted: w, observed: o, units: units, changed: map[string]bool{}, ends: map[string]ends{}}
	p.namespace()
	if err := p.security(); err != nil {
		return Plan{}, err
	}
	p.volumes()
	units = p.leavingLast(units)
	for _, u := range units {
		if err := p.unit(u); err != nil {
			return Plan{}, fmt.Errorf("service %q: %w", u.Service, err)
		}
	}
	orphans := p.orphans()
	p.tightened(orphans)
	if err := p.prune(); err != nil {
		return Plan{}, err
	}
	return Plan{Project: w.Project, Namespace: w.Namespace, Steps: p.steps, Orphans: orphans, wanted: w, security: p.admits}, nil
}

// inOrder sorts the units so that each comes after those it depends on, else by name.
func inOrder(units []Unit) ([]*Unit, error) {
	byName := make(map[string]*Unit, len(units))
	names := make([]string, 0, len(units))
	for i := range units {
		byName[units[i].Service] = &units[i]
		names = append(names, units[i].Service)
	}
	sort.Strings(names)
	var sorted []*Unit
	state := map[string]int{} // 1: on the way down, 2: done
	var visit func(name string) error
	visit = func(name string) error {
		u := byName[name]
		if u == nil || state[name] == 2 {
			return nil
		}
		if state[name] == 1 {
			return fmt.Errorf("service %q: %w", name, ErrCycle)
		}
		state[name] = 1
		next := make([]string, 0, len(u.DependsOn))
		for _, d := range u.DependsOn {
			next = append(next, d.Service)
		}
		sort.Strings(next)
		for _, n := range next {
			if err := visit(n); err != nil {
				return err
			}
		}
		state[name] = 2
		sorted = append(sorted, u)
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// ends is the steps after which a service has started and is ready; "" when it is so already.
type ends struct{ started, ready string }

// firstInstall is the cause of a service that was never here.
const firstInstall = "first install"

// adoption is the cause of a service whose objects were applied by hand, as `perch config` prints them.
const adoption = "its objects are there without a release: they are taken over"

type planner struct {
	wanted   Wanted
	observed Observed
	units    []*Unit
	steps    []Step
	base     []string        // IDs of the steps that all others come after
	volume   []string        // IDs of the volume steps
	changed  map[string]bool // services that are rolled
	ends     map[string]ends
	admits   kube.Security // what the namespace enforces while the plan is carried out
}

func (p *planner) add(s Step) { p.steps = append(p.steps, s) }

func (p *planner) namespace() {
	if p.observed.Exists {
		return
	}
	p.add(Step{ID: "namespace", Kind: CreateNamespace, Object: p.wanted.Namespace, Cause: "does not exist"})
	p.base = []string{"namespace"}
}

func (p *planner) volumes() {
	volumes := slices.Clone(p.wanted.Volumes)
	sort.SliceStable(volumes, func(i, j int) bool { return nameOf(volumes[i]) < nameOf(volumes[j]) })
	for _, v := range volumes {
		name := nameOf(v)
		size, there := p.observed.Volumes[name]
		cause := "does not exist"
		if there {
			claim, ok := v.(*corev1.PersistentVolumeClaim)
			if !ok {
				continue
			}
			want := claim.Spec.Resources.Requests[corev1.ResourceStorage]
			if want.Cmp(size) <= 0 {
				continue // a volume cannot shrink, and what holds data is not replaced
			}
			cause = fmt.Sprintf("size %s → %s", size.String(), want.String())
		}
		id := "volume " + name
		p.add(Step{ID: id, Kind: CreateVolume, Object: name, Cause: cause, After: p.base, objects: []runtime.Object{v}})
		p.volume = append(p.volume, id)
	}
}

func nameOf(o runtime.Object) string {
	ref, err := refOf(o)
	if err != nil {
		return ""
	}
	return ref.Name
}

// unit plans one service: config, migrations, rollout, wait.
func (p *planner) unit(u *Unit) error {
	cause, kind, err := p.rolloutCause(u)
	if err != nil {
		return err
	}
	gate, soft := p.gate(u)
	mounted, err := p.mounted(u)
	if err != nil {
		return err
	}
	gate = append(gate, mounted...)
	gate = append(gate, p.left(u)...)
	configured, err := p.config(u)
	if err != nil {
		return err
	}
	gate = append(gate, configured...)
	migrated := p.migrations(u, gate, soft)
	if kind == Unchanged {
		p.settled(u, migrated)
		return nil
	}
	p.changed[u.Service] = true
	if len(migrated) > 0 {
		gate, soft = migrated, nil
	}
	id := string(kind) + " " + u.Service
	in := p.observed.Releases[u.Release]
	s := Step{
		ID: id, Kind: kind, Service: u.Service, Cause: cause, After: gate, Soft: soft, unit: u,
		replace: p.replaced(u, in), clean: in.Status != "" && in.Status != "deployed",
		back:  takeBack{in.Deployed, in.Manifest},
		again: kind == Upgrade && in.Status == "deployed" && in.Digest == u.Chart.Digest && p.asked(u) != "",
	}
	if kind == Upgrade {
		s.Downtime = downtime(u, in, s.replace, s.again)
	}
	p.add(s)
	wait := "wait " + u.Service
	p.add(Step{ID: wait, Kind: Wait, Service: u.Service, After: []string{id}, unit: u})
	p.ends[u.Service] = ends{started: id, ready: wait}
	return nil
}

// replaced are the objects that must be deleted before the upgrade, since they cannot be changed. Those of somebody else's chart
// are left to the chart: it does not expect that.
func (p *planner) replaced(u *Unit, in Installed) []Ref {
	if u.Foreign != "" && in.Foreign != "" {
		return nil
	}
	return append(p.staleJobs(u, in), immutable(u, in)...)
}

// settled plans a service whose release is as wanted: nothing, or to wait for it when it is not ready.
func (p *planner) settled(u *Unit, migrated []string) {
	if text := p.unready(u); text != "" {
		id := "wait " + u.Service
		p.add(Step{ID: id, Kind: Wait, Service: u.Service, Cause: text, After: migrated, unit: u})
		p.ends[u.Service] = ends{ready: id}
		return
	}
	p.add(Step{ID: "unchanged " + u.Service, Kind: Unchanged, Service: u.Service, After: migrated, unit: u})
	e := ends{}
	if len(migrated) > 0 {
		e = ends{started: migrated[0], ready: migrated[0]}
	}
	p.ends[u.Service] = e
}

// gate is the steps of other services that must have succeeded (hard) or ended (soft) before this one begins.
func (p *planner) gate(u *Unit) (hard, soft []string) {
	hard = slices.Clone(p.base)
	deps := slices.Clone(u.DependsOn)
	sort.SliceStable(deps, func(i, j int) bool { return deps[i].Service < deps[j].Service })
	for _, d := range deps {
		id := p.ends[d.Service].ready
		if d.Condition == Started || d.Condition == "" {
			id = p.ends[d.Service].started
		}
		switch {
		case id == "":
		case d.Required:
			hard = append(hard, id)
		default:
			soft = append(soft, id)
		}
	}
	return hard, soft
}

// mounted is the steps of the volumes that the service's pods mount.
func (p *planner) mounted(u *Unit) ([]string, error) {
	var ids []string
	text, err := json.Marshal([]any{u.Objects, u.Migrations})
	if err != nil {
		return nil, err
	}
	for _, id := range p.volume {
		name := strings.TrimPrefix(id, "volume ")
		if strings.Contains(string(text), fmt.Sprintf(`"claimName":%q`, name)) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// config plans the service's config objects that are not there yet.
func (p *planner) config(u *Unit) ([]string, error) {
	var missing []runtime.Object
	var names []string
	for _, o := range u.Config {
		ref, err := refOf(o)
		if err != nil {
			return nil, err
		}
		if _, there := p.observed.Config[ref]; !there {
			missing = append(missing, o)
			names = append(names, ref.Name)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	id := "config " + u.Service
	p.add(Step{
		ID: id, Kind: ApplyConfig, Service: u.Service, Cause: "new: " + strings.Join(names, ", "), After: p.base, objects: missing,
	})
	return []string{id}, nil
}

// migrations plans the service's migration Jobs that are not complete, one after the other, and gives the last one's
// ID.
func (p *planner) migrations(u *Unit, gate, soft []string) []string {
	var last []string
	for i, j := range u.Migrations {
		cause := "first run"
		if live, there := p.observed.Jobs[j.Name]; there {
			switch kube.StateOf(live) {
			case kube.JobComplete:
				continue
			case kube.JobFailed:
				cause = "the last run failed"
			default:
				cause = "still running"
			}
		} else if in, there := p.observed.Releases[u.Release]; there && words(in.kept)[j.Name] {
			cause = "its job is gone"
		} else if there {
			cause = "image or command changed"
		}
		id := fmt.Sprintf("migrate %s/%d", u.Service, i)
		s := Step{ID: id, Kind: Migrate, Service: u.Service, Object: j.Name, Cause: cause, After: gate, Soft: soft, unit: u, job: j}
		if last != nil {
			s.After, s.Soft = last, nil
		}
		p.add(s)
		last = []string{id}
	}
	return last
}

// rolloutCause says whether and why the service's release must be touched.
func (p *planner) rolloutCause(u *Unit) (cause string, kind Kind, err error) {
	in, there := p.observed.Releases[u.Release]
	switch {
	case !there && p.applied(u):
		return adoption, Install, nil
	case !there:
		return firstInstall, Install, nil
	case in.Status == "uninstalled" || in.Status == "uninstalling":
		return "it was being removed", Install, nil
	case strings.HasPrefix(in.Status, "pending"):
		return "the last deploy was interrupted", Upgrade, nil
	case in.Status != "deployed":
		cause := "the last deploy failed"
		if d := difference(u, in, p.observed); d != "" {
			cause += "; " + d
		}
		return cause, Upgrade, nil
	case in.Digest != u.Chart.Digest:
		cause := difference(u, in, p.observed)
		if cause == "" {
			cause = "chart changed"
		}
		return cause, Upgrade, nil
	}
	if text, err := p.missing(u); text != "" || err != nil {
		return text, Upgrade, err
	}
	if text := p.asked(u); text != "" {
		return text, Upgrade, nil
	}
	return "", Unchanged, nil
}

// asked says why the service's pods must be made anew though its objects are as they were, "" when they need not be.
func (p *planner) asked(u *Unit) string {
	for _, d := range u.DependsOn {
		if d.Restart && p.changed[d.Service] {
			return fmt.Sprintf("service %s changed", d.Service)
		}
	}
	if p.wanted.Recreate {
		return "asked to be recreated"
	}
	return ""
}

// missing says which object of the service must be made again, "" when none.
func (p *planner) missing(u *Unit) (string, error) {
	for _, o := range u.Objects {
		ref, err := refOf(o)
		if err != nil {
			return "", err
		}
		if text := p.lost(ref); text != "" && (u.Foreign == "" || ref.Kind != "Job") { // Jobs of charts may remove themselves
			return text, nil
		}
	}
	return "", nil
}

// applied tells whether an object of the service was applied without a release.
func (p *planner) applied(u *Unit) bool {
	return slices.ContainsFunc(u.Objects, func(o runtime.Object) bool {
		ref, err := refOf(o)
		return err == nil && p.observed.Workloads[ref].Applied
	})
}

// lost says why an object that the release should have must be made again: it is not there, or it is a Job that
// failed.
func (p *planner) lost(ref Ref) string {
	title := strings.ToLower(ref.Kind) + " " + ref.Name
	switch ref.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "Service":
		if _, there := p.observed.Workloads[ref]; !there {
			return title + " is gone"
		}
	case "Job":
		j, there := p.observed.Jobs[ref.Name]
		if !there {
			return title + " is gone"
		}
		if kube.StateOf(j) == kube.JobFailed {
			return title + " failed"
		}
	default:
		if there, looked := p.observed.Others[ref.Kind]; looked && !there[ref.Name] {
			return title + " is gone"
		}
	}
	return ""
}

// unready says how far an installed service is from being ready, "" when it is.
func (p *planner) unready(u *Unit) string {
	for _, o := range u.Objects {
		ref, err := refOf(o)
		if err != nil {
			continue
		}
		if w, there := p.observed.Workloads[ref]; there && (w.Ready < w.Total || !w.Settled) {
			return fmt.Sprintf("%d/%d ready", w.Ready, w.Total)
		}
		if j, there := p.observed.Jobs[ref.Name]; ref.Kind == "Job" && there && kube.StateOf(j) == kube.JobRunning && p.wanted.mustEnd(u.Service) {
			return "still running"
		}
	}
	return ""
}

// staleJobs is the live Jobs of the release that must be deleted before the upgrade: those that failed, and those that
// change, since a Job cannot be changed.
func (p *planner) staleJobs(u *Unit, in Installed) []Ref {
	var stale []Ref
	for _, o := range u.Objects {
		j, ok := o.(*batchv1.Job)
		if !ok {
			continue
		}
		live, there := p.observed.Jobs[j.Name]
		if there && (kube.StateOf(live) == kube.JobFailed || in.Digest != u.Chart.Digest || p.wanted.Recreate) {
			stale = append(stale, Ref{"Job", j.Name})
		}
	}
	return stale
}

// orphans plans the removal of releases whose service the Compose file no longer has, or names those services.
func (p *planner) orphans() []string {
	wanted := map[string]bool{}
	for _, u := range p.units {
		wanted[u.Release] = true
	}
	var orphans []Installed
	for name, in := range p.observed.Releases {
		if !wanted[name] && !slices.Contains(p.wanted.Known, in.Service) {
			orphans = append(orphans, in)
		}
	}
	sort.Slice(orphans, func(i, j int) bool { return orphans[i].Name < orphans[j].Name })
	var left []string
	for _, in := range orphans {
		if !p.wanted.RemoveOrphans {
			left = append(left, in.Service)
			continue
		}
		p.add(Step{
			ID: "uninstall " + in.Name, Kind: Uninstall, Service: in.Service, Object: in.Name, release: in.Name, foreign: in.Foreign != "",
			Cause: "not in the Compose file",
		})
	}
	return left
}

// prune plans the removal of config objects and migration Jobs that no revision needs that will be kept: the kept
// ones of all releases, the wanted ones, and what unfinished Jobs read. It comes last, and only when all went well.
func (p *planner) prune() error {
	var needed strings.Builder
	for name, in := range p.observed.Releases {
		if _, gone := (Plan{Steps: p.steps}).step("uninstall " + name); !gone {
			needed.WriteString(in.kept + "\n")
		}
	}
	for _, u := range p.units {
		needed.WriteString(strings.Join(requires(u), "\n") + "\n")
	}
	for _, j := range p.observed.Jobs {
		if kube.StateOf(j) != kube.JobRunning {
			continue
		}
		spec, err := json.Marshal(j.Spec)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		needed.Write(spec)
	}
	refs := p.unneeded(words(needed.String()))
	if len(refs) == 0 {
		return nil
	}
	names := make([]string, len(refs))
	after := make([]string, 0, len(p.steps))
	for i, r := range refs {
		names[i] = r.Name
	}
	for _, s := range p.steps {
		if s.Kind != Unchanged {
			after = append(after, s.ID)
		}
	}
	p.add(Step{
		ID: "prune", Kind: Prune, Cause: "no kept revision needs: " + strings.Join(names, ", "), After: after, prune: refs,
	})
	return nil
}

// words is everything in a text that may be the name of an object.
func words(text string) map[string]bool {
	found := map[string]bool{}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}) {
		found[word] = true
	}
	return found
}

// unneeded is the project's config objects and finished migration Jobs whose name is not among the needed ones.
func (p *planner) unneeded(needed map[string]bool) []Ref {
	var refs []Ref
	for ref := range p.observed.Config {
		if !needed[ref.Name] {
			refs = append(refs, ref)
		}
	}
	for name, j := range p.observed.Jobs {
		migration := j.Labels[kube.ComponentLabel] == "migration" && j.Labels[kube.ProjectLabel] == p.wanted.Namespace
		if migration && kube.StateOf(j) != kube.JobRunning && !needed[name] {
			refs = append(refs, Ref{"Job", name})
		}
	}
	sort.Slice(refs, func(i, j int) bool { return refs[i].String() < refs[j].String() })
	return refs
}
