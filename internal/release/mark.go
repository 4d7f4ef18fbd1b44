package release

import (
	"maps"
	"slices"
	"strconv"

	helmrel "helm.sh/helm/v4/pkg/release"
	helmstatus "helm.sh/helm/v4/pkg/release/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
)

// Annotations of Chart.yaml that say of which deploy a revision is. They are written when the revision is stored, since a
// rollback takes the chart of an old revision, with all that it said, for its own: revisionAnnotation tells whether the others
// are a revision's own, and a rollback by plain helm is known by it.
const (
	revisionAnnotation = "perch.dev/revision"      // the revision that these were written for
	deployAnnotation   = "perch.dev/deploy"        // number of the deploy, counted over the whole project
	byAnnotation       = "perch.dev/by"            // user@host
	commitAnnotation   = "perch.dev/commit"        // git commit of what is deployed; "" when it is not known
	rollbackAnnotation = "perch.dev/rollback-to"   // the deploy that this one brought back
	schemaAnnotation   = "perch.dev/schema"        // version of the database's schema that this revision began with: "goose 2"
	beforeAnnotation   = "perch.dev/schema-before" // the same before its migrations ran
)

// marking is a storage driver that writes annotations into each revision that is created. Helm stores the same revision
// again when its status changes, so that they stay.
type marking struct {
	driver.Driver
	notes func(*helmrelease.Release) map[string]string // "" takes an annotation away
}

var _ driver.Driver = marking{}

// Create stores a revision with its annotations.
func (m marking) Create(key string, r helmrel.Releaser) error {
	if rel, ok := r.(*helmrelease.Release); ok && rel.Chart != nil && rel.Chart.Metadata != nil {
		changed, metadata := *rel.Chart, *rel.Chart.Metadata // the chart may be another revision's too
		metadata.Annotations = maps.Clone(metadata.Annotations)
		if metadata.Annotations == nil {
			metadata.Annotations = map[string]string{}
		}
		for name, value := range m.notes(rel) {
			metadata.Annotations[name] = value
			if value == "" {
				delete(metadata.Annotations, name)
			}
		}
		changed.Metadata = &metadata
		rel.Chart = &changed
	}
	return m.Driver.Create(key, r)
}

// notes are the annotations of a revision that this run makes. What it brings back keeps the commit that it is of.
func (e *executor) notes(rel *helmrelease.Release) map[string]string {
	notes := map[string]string{
		revisionAnnotation: strconv.Itoa(rel.Version), deployAnnotation: strconv.Itoa(e.mark.deploy), byAnnotation: e.mark.holder.place(),
		rollbackAnnotation: "",
	}
	if e.mark.rollbackTo > 0 {
		notes[rollbackAnnotation] = strconv.Itoa(e.mark.rollbackTo)
	}
	if rel.Info == nil || rel.Info.Status != helmstatus.StatusPendingRollback {
		notes[commitAnnotation] = e.mark.holder.Commit
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.schemas[rel.Chart.Metadata.Annotations[serviceAnnotation]]
	notes[schemaAnnotation], notes[beforeAnnotation] = s.after, s.before
	return notes
}

// mark is what the revisions of one run have in common.
type mark struct {
	deploy     int
	rollbackTo int // 0: it is no rollback
	holder     Holder
}

// schemas is the version of a service's database at two moments of a run, "" when it is not known.
type schemas struct{ before, after string }

// deployOf is the number of the deploy that made a revision; 0 for one that is not of a deploy of Perch.
func deployOf(rel *helmrelease.Release) int {
	notes := rel.Chart.Metadata.Annotations
	if notes[revisionAnnotation] != strconv.Itoa(rel.Version) {
		return 0
	}
	n, err := strconv.Atoi(notes[deployAnnotation])
	if err != nil {
		return 0
	}
	return n
}

// nextDeploy is one more than the highest number that a revision of the project has.
func nextDeploy(all []*helmrelease.Release, project string) int {
	highest := 0
	for _, rel := range ofProject(all, project) {
		highest = max(highest, deployOf(rel))
	}
	return highest + 1
}

// ofProject keeps the revisions of the project's releases, "" those of any project.
func ofProject(all []*helmrelease.Release, project string) []*helmrelease.Release {
	return slices.DeleteFunc(slices.Clone(all), func(rel *helmrelease.Release) bool {
		of := rel.Chart.Metadata.Annotations[projectAnnotation]
		return of == "" || project != "" && of != project
	})
}
