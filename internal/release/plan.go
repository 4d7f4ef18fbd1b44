package release

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	CreateNamespace Kind = "namespace" // create the namespace
	Secure          Kind = "security"  // enforce another level of Pod Security in the namespace
	CreateVolume    Kind = "volume"    // create or grow a PersistentVolumeClaim
	ApplyConfig     Kind = "config"    // apply the config objects of a service
	Migrate         Kind = "migrate"   // run one pre_start Job to completion
	Install         Kind = "install"   // install the service's release
	Upgrade         Kind = "upgrade"   // upgrade the service's release
	RollBack        Kind = "rollback"  // bring an old revision of the service's release back
	Wait            Kind = "wait"      // wait until the service is rolled out
	Unchanged       Kind = "unchanged" // leave the service alone
	Uninstall       Kind = "uninstall" // remove a release that is no longer wanted
	Prune           Kind = "prune"     // remove config and Jobs that no kept revision names
)

// Step is one node of a Plan.
type Step struct {
	ID       string   `json:"id"`                 // unique in the plan: "install web", "migrate web/0", "prune"
	Kind     Kind     `json:"kind"`               //
	Service  string   `json:"service,omitempty"`  // "" when it is not about one service
	Object   string   `json:"object,omitempty"`   // the object it is about, when that is not the service
	Cause    string   `json:"cause,omitempty"`    // why it is needed, for people
	Downtime string   `json:"downtime,omitempty"` // why the service does not answer for a moment; "": it does all the time
	After    []string `json:"after,omitempty"`    // IDs of the steps that must have succeeded before
	Soft     []string `json:"soft,omitempty"`     // IDs of the steps that must have ended before, with or without success

	unit     *Unit
	objects  []runtime.Object
	job      *batchv1.Job
	release  string // to uninstall
	foreign  bool   // what is uninstalled is a foreign chart
	prune    []Ref
	replace  []Ref    // objects of the release that must be deleted first, since they cannot be changed
	clean    bool     // broken pods of the last attempt must be deleted first
	back     takeBack // what to return to when the rollout fails
	revision int      // to roll back to
	security kube.Security
	schema   bool // the service has migrations, though none of them is to run
	again    bool // the objects are as they were: restart the pods
}

// Plan is the steps that bring a project from what is observed to what is wanted, in an order in which they can be
// done one after the other.
type Plan struct {
	Project   string
	Namespace string
	Steps     []Step
	Orphans   []string // services that the Compose file no longer has and whose releases are left alone

	wanted   Wanted
	security kube.Security // what the namespace must enforce, at the most, while the plan is carried out
}

// Changes tells whether the plan has a step that changes or waits for anything.
func (p Plan) Changes() bool {
	for _, s := range p.Steps {
		if s.Kind != Unchanged {
			return true
		}
	}
	return false
}

// String is the plan as text: a line for each step with its cause and what it comes after. It is stable.
func (p Plan) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range p.Steps {
		what := s.Service
		if s.Object != "" {
			what = strings.TrimSpace(what + " " + s.Object)
		}
		after := ""
		if names := append(append([]string{}, s.After...), s.Soft...); len(names) > 0 {
			after = "after " + strings.Join(names, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Kind, what, s.Cause, after)
		if s.Downtime != "" {
			fmt.Fprintf(w, "\t\tdowntime: %s\t\n", s.Downtime)
		}
	}
	_ = w.Flush() // a strings.Builder takes all
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// Check is an error when the plan has not exactly the given steps, those of a plan that was made before: it names the first
// that differs. nil means that there was no such plan: then any will do.
func (p Plan) Check(before []Step) error {
	if before == nil {
		return nil
	}
	stale := func(format string, args ...any) error {
		return fault.New(fault.Other, "look at it again: perch plan", "the plan no longer holds: "+format, args...)
	}
	early := map[string]bool{}
	for _, s := range slices.Concat(p.Steps, before) {
		if s.early() {
			early[s.ID] = true
		}
	}
	rest := func(ids []string) []string {
		return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return early[id] })
	}
	for _, s := range p.Steps {
		old, there := (Plan{Steps: before}).step(s.ID)
		switch {
		case early[s.ID]:
		case !there:
			return stale("%s is new (%s)", s.ID, s.Cause)
		case !holds(old.Cause, s.Cause):
			return stale("%s was because %q, and is because %q", s.ID, old.Cause, s.Cause)
		case old.Downtime != s.Downtime:
			return stale("%s has downtime %q, and had %q", s.ID, s.Downtime, old.Downtime)
		case !slices.Equal(rest(old.After), rest(s.After)) || !slices.Equal(old.Soft, s.Soft):
			return stale("%s comes in another order", s.ID)
		}
	}
	for _, old := range before {
		if _, there := p.step(old.ID); !there && !early[old.ID] {
			return stale("%s is not needed any more", old.ID)
		}
	}
	return nil
}

// early tells whether the step may be done before the lock is taken, and then is no part of the plan that is made under it.
func (s Step) early() bool { return s.Kind == CreateNamespace || s.Kind == Secure && s.ID == letIn }

// step finds a step by its ID.
func (p Plan) step(id string) (Step, bool) {
	for _, s := range p.Steps {
		if s.ID == id {
			return s, true
		}
	}
	return Step{}, false
}
