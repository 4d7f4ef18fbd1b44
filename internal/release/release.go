// Package release decides what must change in a cluster and changes it: Observe takes one snapshot of what is
// installed, Compare makes a Plan from it and from what is wanted, in a pure function, and Execute walks the plan. Each
// service is one Helm release, so that plain `helm list`, `history` and `rollback` work on it.
//
// It is the only importer of the Helm SDK, whose types do not leave it. It must not know of Compose files, images or
// how objects are rendered, and it prints nothing.
package release

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/kube"
)

// Annotations of Chart.yaml in which a release remembers what it was made of. They are a part of each revision, so
// that a rollback by plain helm brings them back too.
const (
	digestAnnotation   = "perch.dev/digest"     // chart.Chart.Digest
	projectAnnotation  = "perch.dev/project"    // namespace name of the project
	serviceAnnotation  = "perch.dev/service"    // the service's name in the Compose file
	requiresAnnotation = "perch.dev/requires"   // names of config objects and migration Jobs of this revision
	afterAnnotation    = "perch.dev/depends-on" // services that it depends on, for the order of removal
	onceAnnotation     = "perch.dev/runs-once"  // Unit.Once
)

// defaultHistory is how many revisions of a release are kept.
const defaultHistory = 10

// Conditions of a Dependency, as Compose names them.
const (
	Started   = "service_started"
	Healthy   = "service_healthy"
	Completed = "service_completed_successfully"
)

// Dependency is one depends_on entry.
type Dependency struct {
	Service   string
	Condition string // Started, Healthy or Completed; "" is Started
	Required  bool   // false: the service goes on when this one is missing or fails
	Restart   bool   // roll the service when this one was changed
}

// Unit is one service as it should be.
type Unit struct {
	Service    string           // Compose's name
	Release    string           // name of the Helm release
	Chart      chart.Chart      // what Helm installs: Objects as files
	Config     []runtime.Object // ConfigMaps and Secrets named by their content, there before all else
	Migrations []*batchv1.Job   // run to completion, in order, before the rollout; the name holds the content's hash
	Objects    []runtime.Object // what the chart holds, to compare with and to wait for
	DependsOn  []Dependency
	Once       string // not "": it was seen to end, and this names the program that did. It is remembered with the release
	Guessed    bool   // its image is not built yet, so that what the image says of itself is not in Objects: a plan only
	TakeBack   bool   // a rollout that fails is rolled back to the deployed revision (update_config.failure_action: rollback)

	Foreign string         // name and version of somebody else's chart, which Chart is; "": it is made of Objects
	Values  map[string]any // what Foreign gets
}

// Wanted is a project as it should be.
type Wanted struct {
	Project       string // as Compose has it
	Namespace     string
	Volumes       []runtime.Object // PersistentVolumeClaims; they outlive releases
	Units         []Unit           // only the services that are asked for; others are left as they are
	Security      kube.Security    // what all of the project needs; Because names keys of the Compose file
	Known         []string         // all services of the Compose file, those that are not asked for too: no orphans
	RemoveOrphans bool             // uninstall the project's releases of services that are neither Units nor Known
	Recreate      bool             // roll even what is unchanged
	Shared        []runtime.Object // Secrets that all services use, marked by the function of that name; applied at each deploy
}

// mustEnd tells whether a service waits for the end of another one.
func (w Wanted) mustEnd(service string) bool {
	return slices.ContainsFunc(w.Units, func(u Unit) bool {
		return slices.ContainsFunc(u.DependsOn, func(d Dependency) bool { return d.Service == service && d.Condition == Completed })
	})
}

// Release is one installed Helm release, for lists.
type Release struct {
	Name       string    `json:"name"`
	Namespace  string    `json:"namespace"`
	Project    string    `json:"project"` // "" when it is not Perch's
	Service    string    `json:"service"`
	Revision   int       `json:"revision"`
	Deploy     int       `json:"deploy"` // number of the deploy that made the revision, 0 when none of Perch did
	Status     string    `json:"status"` // as Helm has it: deployed, failed, …
	Serves     bool      `json:"-"`      // a revision of it was rolled out whole
	Once       string    `json:"-"`      // Unit.Once of the last revision
	AppVersion string    `json:"app_version"`
	Updated    time.Time `json:"updated"`
}
