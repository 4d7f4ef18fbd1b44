package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// defaultTimeout is for an Execute or Remove that is given none.
const defaultTimeout = 5 * time.Minute

// ExecuteOptions say how a plan is executed.
type ExecuteOptions struct {
	Timeout    time.Duration // for each migration, and for each service to become ready; 0 is 5 minutes
	HistoryMax int           // revisions kept of each release; 0 is 10
	Detach     bool          // do not wait for services that no other one waits for
	Planned    []Step        // refuse to do anything but these steps, as Plan.Check has it; nil: whatever is needed
	Holder     Holder        // who takes the deploy lock; empty is this process
	LockWait   time.Duration // how long another holder of it is waited for; 0: not at all
	pace       pace          // of the lock; empty is the usual one

	// Schema tells the version of the database that a service works with, "" when it is not known. It is asked before and
	// after the migrations of a service, and must not take long. nil: nothing is recorded.
	Schema func(ctx context.Context, service string) string
}

// Execute walks the plan: each step as soon as those before it are done, independent ones side by side. It takes the
// deploy lock, and under it compares anew, since another run may have changed what the plan was made from. A step that
// fails keeps only those from running that come after it. Progress is reported under "service NAME", "migrate NAME",
// "volume NAME" and "namespace NAME".
//
// When the API server does not answer for 30 s, that is told while it lasts and then ends the run, as a lock that is lost does.
//
// Errors are joined, what ended the whole run first, the others in the order of the plan: of kind fault.Migration,
// fault.Rollout, fault.Locked, fault.Unreachable.
// A release whose rollout failed is recorded as failed, and its previous version serves on.
func Execute(ctx context.Context, c *kube.Client, p Plan, r progress.Reporter, o ExecuteOptions) error {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	for _, service := range p.Orphans {
		r.Report(progress.Event{
			ID: "service " + service, Status: progress.Warned, Text: "not in the Compose file: perch up --remove-orphans removes it",
		})
	}
	if err := p.Check(o.Planned); err != nil {
		return err
	}
	if !p.Changes() {
		if err := share(ctx, c, p.wanted); err != nil {
			return err
		}
		for _, s := range p.Steps {
			r.Report(progress.Event{ID: "service " + s.Service, Status: progress.Same, Text: "unchanged"})
		}
		return nil
	}
	l, ctx, err := enter(ctx, c, p, r, o)
	if err != nil {
		return err
	}
	defer l.release(ctx)
	c = l.through
	now, err := Observe(ctx, c, p.Project, p.Namespace)
	if err != nil {
		return err
	}
	if p, err = Compare(p.wanted, now); err != nil {
		return err
	}
	if err := p.Check(o.Planned); err != nil {
		return err
	}
	h, err := newHelm(c, p.Namespace, o.HistoryMax)
	if err != nil {
		return err
	}
	if err := h.repairOthers(ctx, now, p); err != nil {
		return err
	}
	if err := share(ctx, c, p.wanted); err != nil {
		return err
	}
	e := newExecutor(c, h, p, r, o)
	e.mark = mark{deploy: now.deploy + 1, holder: o.Holder.orThis()}
	return e.run(ctx)
}

func newExecutor(c *kube.Client, h *helm, p Plan, r progress.Reporter, o ExecuteOptions) *executor {
	e := &executor{
		client: c, helm: h, plan: p, report: r, detach: o.Detach, timeout: o.Timeout, version: o.Schema,
		done: map[string]chan struct{}{}, errs: map[string]error{}, rollouts: map[string]*rollout{}, schemas: map[string]schemas{},
	}
	h.notes = e.notes
	return e
}

// enter makes sure of the namespace and takes the lock in it. A run that was waited for may have removed the namespace.
func enter(ctx context.Context, c *kube.Client, p Plan, r progress.Reporter, o ExecuteOptions) (*lock, context.Context, error) {
	for {
		if err := ensureNamespace(ctx, c, p, r); err != nil {
			return nil, nil, err
		}
		l, held, err := acquire(ctx, c, p.Namespace, locking{holder: o.Holder, wait: o.LockWait, report: r, pace: o.pace})
		if !errors.Is(err, errNoNamespace) {
			return l, held, err
		}
		if _, gerr := c.Interface.CoreV1().Namespaces().Get(ctx, p.Namespace, metav1.GetOptions{}); kube.Forbidden(gerr) {
			return nil, nil, fault.New(fault.Other, "have it made by who may: kubectl create namespace "+p.Namespace, "%w, and this account may not make it", err)
		}
	}
}

// ensureNamespace comes before the lock, which lives in the namespace.
func ensureNamespace(ctx context.Context, c *kube.Client, p Plan, r progress.Reporter) error {
	changed, err := c.EnsureNamespace(ctx, kube.ProjectNamespace(p.Namespace, p.security))
	if err == nil && changed != "" {
		r.Report(progress.Event{ID: "namespace " + p.Namespace, Status: progress.Done, Text: changed})
	}
	return err
}

// errSkipped is the error of a step that did not run because one before it failed. It is not told: the other one is.
var errSkipped = errors.New("not started")

type executor struct {
	client  *kube.Client
	helm    *helm
	plan    Plan
	report  progress.Reporter
	detach  bool
	timeout time.Duration
	mark    mark
	version func(ctx context.Context, service string) string // of the database's schema; may be nil

	mu       sync.Mutex
	done     map[string]chan struct{} // closed when the step has ended
	errs     map[string]error
	rollouts map[string]*rollout // by service; from its install or upgrade step to its wait step
	schemas  map[string]schemas  // by service, of those with migrations
}

func (e *executor) run(ctx context.Context) error {
	for _, s := range e.plan.Steps {
		e.done[s.ID] = make(chan struct{})
	}
	var running sync.WaitGroup
	for _, s := range e.plan.Steps {
		running.Go(func() {
			defer close(e.done[s.ID])
			err := e.step(ctx, s)
			e.mu.Lock()
			e.errs[s.ID] = err
			e.mu.Unlock()
		})
	}
	running.Wait()
	var failed []error
	cause := context.Cause(ctx)
	if cause != nil {
		failed = append(failed, cause) // once, not for each step that it ended
	}
	for _, s := range e.plan.Steps {
		err := e.errs[s.ID]
		if err == nil || errors.Is(err, errSkipped) || cause != nil && errors.Is(err, cause) {
			continue
		}
		failed = append(failed, err)
	}
	if len(failed) == 1 {
		return failed[0]
	}
	return errors.Join(failed...)
}

// step waits for the steps before and then runs one. The steps before always end, so this needs no way out.
func (e *executor) step(ctx context.Context, s Step) error {
	for _, id := range s.Soft {
		<-e.done[id]
	}
	for _, id := range s.After {
		<-e.done[id]
		e.mu.Lock()
		err := e.errs[id]
		e.mu.Unlock()
		if err != nil {
			return e.skip(s, id)
		}
	}
	if err := context.Cause(ctx); err != nil && e.rollout(s.Service) == nil {
		return err
	}
	switch s.Kind {
	case CreateNamespace: // done before the lock was taken
		return nil
	case Secure:
		return e.secure(ctx, s)
	case CreateVolume:
		return e.volume(ctx, s)
	case ApplyConfig:
		return e.config(ctx, s)
	case Migrate:
		return e.migrate(ctx, s)
	case Install, Upgrade, RollBack:
		return e.roll(ctx, s)
	case Wait:
		return e.wait(ctx, s)
	case Unchanged:
		e.tell(s, progress.Same, cmp.Or(s.Cause, "unchanged"))
		return nil
	case Uninstall:
		return e.uninstall(ctx, s)
	case Prune:
		return e.prune(ctx, s)
	}
	return fmt.Errorf("step %q: unknown kind", s.ID)
}

// skip reports a service that does not begin because another one failed.
func (e *executor) skip(s Step, because string) error {
	before, _ := e.plan.step(because)
	if s.Service != "" && s.Service != before.Service && (s.Kind == Install || s.Kind == Upgrade || s.Kind == RollBack || s.Kind == Migrate) {
		e.tell(s, progress.Failed, "not started: "+because+" did not succeed")
	}
	return errSkipped
}

func (e *executor) tell(s Step, status progress.Status, text string) {
	e.report.Report(progress.Event{ID: "service " + s.Service, Status: status, Text: text})
}

func (e *executor) rollout(service string) *rollout {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rollouts[service]
}

func (e *executor) volume(ctx context.Context, s Step) error {
	id := "volume " + s.Object
	if err := e.client.Apply(ctx, in(e.plan.Namespace, s.objects)); err != nil {
		err = e.client.Explain(fmt.Errorf("volume %s: %w", s.Object, err))
		e.report.Report(progress.Event{ID: id, Status: progress.Failed, Text: err.Error()})
		return err
	}
	e.report.Report(progress.Event{ID: id, Status: progress.Done, Text: "created"})
	return nil
}

// secure makes the namespace enforce the level of a step.
func (e *executor) secure(ctx context.Context, s Step) error {
	if err := e.client.SetSecurity(ctx, e.plan.Namespace, s.security); err != nil {
		return err
	}
	e.report.Report(progress.Event{ID: "namespace " + e.plan.Namespace, Status: progress.Done, Text: "Pod Security is " + s.security.String()})
	return nil
}

func (e *executor) config(ctx context.Context, s Step) error {
	e.tell(s, progress.Working, "config")
	if err := e.client.Apply(ctx, in(e.plan.Namespace, s.objects)); err != nil {
		err = e.client.Explain(fmt.Errorf("service %s: config: %w", s.Service, err))
		e.tell(s, progress.Failed, err.Error())
		return err
	}
	return nil
}

// in puts objects that name no namespace into this one.
func in(namespace string, objects []runtime.Object) []runtime.Object {
	placed := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		o = o.DeepCopyObject()
		if meta, ok := o.(metav1.Object); ok && meta.GetNamespace() == "" {
			meta.SetNamespace(namespace)
		}
		placed = append(placed, o)
	}
	return placed
}

// migrate runs one migration Job. Its failure ends the service's deploy and leaves what runs alone.
func (e *executor) migrate(ctx context.Context, s Step) error {
	id := "migrate " + s.Service
	parent := "service " + s.Service
	report := progress.Func(func(ev progress.Event) {
		ev.Parent = parent
		e.report.Report(ev)
	})
	job := s.job.DeepCopy()
	job.Namespace = e.plan.Namespace
	e.tell(s, progress.Working, "migrating")
	e.noteSchema(ctx, s.Service, false)
	limited, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	_, err := e.client.RunJob(limited, job, report, id)
	if err == nil {
		return nil
	}
	if fault.KindOf(err) == fault.Unreachable || ctx.Err() != nil {
		e.tell(s, progress.Failed, "not started: the migration did not end")
		return err
	}
	failed := &fault.Error{
		Kind: fault.Migration, Err: fmt.Errorf("service %s: migration: %w", s.Service, err), Hint: fault.HintOf(err),
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		failed.Output = f.Output
	}
	e.tell(s, progress.Failed, "not started: its migration failed")
	return failed
}

// noteSchema asks for the version of the service's database, for the revision that is about to be made. Before the migrations
// the first of them asks.
func (e *executor) noteSchema(ctx context.Context, service string, after bool) {
	e.mu.Lock()
	known, asked := e.schemas[service]
	e.mu.Unlock()
	if e.version == nil || asked && !after {
		return
	}
	version := e.version(ctx, service)
	if after {
		known.after = version
	} else {
		known.before = version
	}
	e.mu.Lock()
	e.schemas[service] = known
	e.mu.Unlock()
}

// rollout is one Helm action on its way.
type rollout struct {
	verdict chan error // what our wait says; Helm takes it once
	ended   chan error // what Helm says at last
	past    string     // "installed", "updated" or "rolled back"
	back    takeBack   // of the step that began it
}

// roll starts Helm's action and returns when the objects are applied. The action goes on until wait gives the verdict.
func (e *executor) roll(ctx context.Context, s Step) error {
	e.tell(s, progress.Working, s.Cause)
	if err := e.prepare(ctx, s); err != nil {
		err = e.client.Explain(fmt.Errorf("service %s: %w", s.Service, err))
		e.tell(s, progress.Failed, err.Error())
		return err
	}
	if s.schema || len(s.unit.Migrations) > 0 {
		e.noteSchema(ctx, s.Service, true)
	}
	ro := &rollout{verdict: make(chan error, 1), ended: make(chan error, 1), past: "installed", back: s.back}
	applied := make(chan struct{})
	w := waiter{
		applied: sync.OnceFunc(func() { close(applied) }), verdict: ro.verdict,
		foreign: s.unit.Foreign != "", ctx: ctx, timeout: e.timeout,
	}
	switch s.Kind {
	case Upgrade:
		ro.past = "updated"
		go func() { ro.ended <- e.helm.upgrade(s.unit, e.plan.Project, s.Cause, w) }()
	case RollBack:
		ro.past = "rolled back"
		go func() { ro.ended <- e.helm.rollback(s.unit.Release, s.revision, s.Cause, w) }()
	default:
		go func() { ro.ended <- e.helm.install(s.unit, e.plan.Project, s.Cause == adoption, w) }()
	}
	select {
	case <-applied:
		e.mu.Lock()
		e.rollouts[s.Service] = ro
		e.mu.Unlock()
		return e.applied(ctx, s, ro)
	case err := <-ro.ended:
		err = e.refused(s, err)
		e.tell(s, progress.Failed, err.Error())
		return err
	}
}

// applied does what comes as soon as the objects are: pods that an autoscaler wants at least, and new ones for a service whose
// objects did not change, when that was asked for.
func (e *executor) applied(ctx context.Context, s Step, ro *rollout) error {
	err := e.raise(ctx, s.unit.Objects)
	if err == nil && s.again {
		err = e.client.Restart(ctx, in(e.plan.Namespace, s.unit.Objects), time.Now())
	}
	if err == nil {
		return nil
	}
	err = e.client.Explain(fmt.Errorf("service %s: %w", s.Service, err))
	ro.verdict <- err
	if helmErr := <-ro.ended; helmErr != nil && !errors.Is(helmErr, err) {
		err = errors.Join(err, helmErr)
	}
	e.tell(s, progress.Failed, err.Error())
	return err
}

// refused is the error for objects that the API server did not take.
func (e *executor) refused(s Step, err error) error {
	err = e.client.Explain(fmt.Errorf("service %s: %w", s.Service, err))
	if fault.KindOf(err) != fault.Other {
		return err
	}
	hint := "look at the objects: perch config --format kubernetes"
	if s.unit.Foreign != "" {
		hint = fmt.Sprintf("look at what its chart has made: perch kubectl get all -n %s -l %s=%s", e.plan.Namespace, kube.InstanceLabel, s.unit.Release)
	}
	return &fault.Error{Kind: fault.Rollout, Err: err, Hint: hint}
}

// prepare removes what would keep the action from going through: a pending revision, the rest of a removal, objects that
// cannot be changed, and pods that a failed attempt left behind.
func (e *executor) prepare(ctx context.Context, s Step) error {
	if s.Kind == Install && s.Cause != firstInstall && s.Cause != adoption {
		return e.helm.uninstall(ctx, s.unit.Release, false) // it was going: its hooks have run
	}
	if s.clean {
		if err := e.helm.repair(ctx, s.unit.Release); err != nil {
			return err
		}
		if err := e.client.ClearBroken(ctx, in(e.plan.Namespace, s.unit.Objects)); err != nil {
			return err
		}
	}
	for _, o := range objectsOf(e.plan.Namespace, s.replace) {
		if err := e.client.DeleteAndWait(ctx, o); err != nil {
			return err
		}
	}
	return e.client.HoldReplicas(ctx, e.plan.Namespace, elastic(s.unit.Objects))
}

// wait watches the rollout and tells Helm how it went. A service that only had to be waited for has no Helm action.
func (e *executor) wait(ctx context.Context, s Step) error {
	ro := e.rollout(s.Service)
	var err error
	if !e.detach || e.awaited(s.ID) {
		limited, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		wait := e.client.WaitStarted
		if e.plan.wanted.mustEnd(s.Service) {
			wait = e.client.WaitReady
		}
		err = wait(limited, in(e.plan.Namespace, s.unit.Objects), e.report, "service "+s.Service)
	}
	past := "ready"
	if ro != nil {
		ro.verdict <- err
		helmErr := <-ro.ended
		if err == nil && helmErr != nil {
			err = e.client.Explain(fmt.Errorf("service %s: %w", s.Service, helmErr))
		}
		past = ro.past
	}
	if err != nil && ro != nil && s.unit.TakeBack && ro.back.revision > 0 && ctx.Err() == nil {
		err = e.takeBack(ctx, s, ro.back, err)
	}
	if err != nil {
		e.tell(s, progress.Failed, kube.Reason(err))
		return err
	}
	e.tell(s, progress.Done, past)
	return nil
}

// awaited tells whether a step other than prune comes after this one.
func (e *executor) awaited(id string) bool {
	for _, s := range e.plan.Steps {
		for _, before := range append(append([]string{}, s.After...), s.Soft...) {
			if before == id && s.Kind != Prune {
				return true
			}
		}
	}
	return false
}

func (e *executor) uninstall(ctx context.Context, s Step) error {
	if err := e.helm.uninstall(ctx, s.release, s.foreign); err != nil {
		return e.client.Explain(fmt.Errorf("release %s: %w", s.release, err))
	}
	e.tell(s, progress.Done, "removed")
	return nil
}

func (e *executor) prune(ctx context.Context, s Step) error {
	if e.detach {
		return nil // the old pods may still need it; the next deploy prunes
	}
	if err := e.client.Delete(ctx, objectsOf(e.plan.Namespace, s.prune)); err != nil {
		return e.client.Explain(fmt.Errorf("prune: %w", err))
	}
	return nil
}
