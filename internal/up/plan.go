package up

import (
	"context"
	"fmt"
	"strings"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// Plan is what Up would do, as `perch plan` prints and saves it. It holds no values of variables.
type Plan struct {
	Project   string           `json:"project"`
	Namespace string           `json:"namespace"`
	Context   string           `json:"context"`
	Changes   bool             `json:"changes"`
	Images    []PlannedImage   `json:"images"` // those that would be built or pulled, sorted by what they are for
	Steps     []release.Step   `json:"steps"`  // in an order in which they can be done
	Orphans   []string         `json:"orphans,omitempty"`
	Risks     []string         `json:"risks,omitempty"` // what the cluster offers, and is to be known about it
	Warnings  compose.Problems `json:"warnings,omitempty"`

	text string
}

// PlannedImage is one image that would be built or pulled.
type PlannedImage struct {
	For   string `json:"for"` // the service, or job/NAME
	Ref   string `json:"ref"`
	Build bool   `json:"build"` // false: it is pulled
}

// String is the plan for people: a line a step. It is "" when nothing would change.
func (p Plan) String() string {
	if !p.Changes {
		return ""
	}
	var b strings.Builder
	for _, i := range p.Images {
		verb := "pull"
		if i.Build {
			verb = "build"
		}
		fmt.Fprintf(&b, "%-9s  %s  %s\n", verb, i.For, i.Ref)
	}
	b.WriteString(p.text)
	for _, risk := range p.Risks {
		fmt.Fprintf(&b, "risk       %s\n", risk)
	}
	for _, service := range p.Orphans {
		fmt.Fprintf(&b, "left       %s  not in the Compose file: perch up --remove-orphans removes it\n", service)
	}
	return b.String()
}

// MakePlan tells what Up would do. Nothing is started, built, pulled or changed.
func MakePlan(ctx context.Context, o Options) (Plan, error) {
	project, err := loadProject(ctx, o)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		Project: project.Name, Namespace: namespaceOf(o, project), Context: o.Kube.Context, Warnings: project.Warnings, Images: []PlannedImage{},
	}
	if project, err = o.recallDry(ctx, project); err != nil {
		return p, err
	}
	if err := o.fetchCharts(ctx, project); err != nil {
		return p, err
	}
	images, err := foresee(ctx, o, project)
	if err != nil {
		return p, err
	}
	on, err := targetDry(ctx, o, project)
	if err != nil {
		return p, err
	}
	rendered, err := render.Objects(project, imagesOf(images), on)
	if err != nil {
		return p, err
	}
	steps, err := planDry(ctx, o, project, rendered, images, progress.Func(func(e progress.Event) {
		if e.Status == progress.Warned {
			p.Risks = append(p.Risks, e.Text)
		}
	}))
	if err != nil {
		return p, err
	}
	for _, key := range sortedKeys(images) {
		if images[key].Built {
			p.Images = append(p.Images, PlannedImage{For: key, Ref: images[key].Ref, Build: builds(project, key)})
		}
	}
	p.Steps, p.Orphans, p.text = steps.Steps, steps.Orphans, steps.String()
	p.Changes = steps.Changes() || len(p.Images) > 0
	return p, nil
}

// builds tells whether the image of a service or job is built here.
func builds(project *compose.Project, key string) bool {
	if job, ok := strings.CutPrefix(key, jobKey("")); ok {
		return project.Jobs[job].Build != nil
	}
	service, _, _ := strings.Cut(key, "/")
	return project.Project.Services[service].Build != nil
}
