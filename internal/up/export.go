package up

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/render"
)

// Exported is a project on its way to files that a person owns.
type Exported struct {
	Project  *compose.Project
	Rendered render.Output
	Chart    chart.Project
	Overlays []chart.Overlay // one for each of x-perch.targets; none when one of them was chosen
	Unpinned []string        // images that no registry is known to have, sorted
	Beside   []string        // services that are Helm charts of their own, which these files do not have
}

// Export is what Config tells, as package chart takes it. Images that came from a registry are pinned by their digest.
func Export(ctx context.Context, o Options) (Exported, error) {
	project, err := loadProject(ctx, o)
	if err != nil {
		return Exported{}, err
	}
	options := imageOptions(o, project, deployed(project))
	options.Shell = true // the chart's test runs in one
	images, err := foreseen(ctx, o, project, options)
	if err != nil {
		return Exported{}, err
	}
	rendered, err := render.Objects(project, imagesOf(images), target(o, project))
	if err != nil {
		return Exported{}, err
	}
	e := Exported{Project: project, Rendered: rendered}
	e.Chart = exported(rendered, images)
	e.Chart.Name, e.Chart.Namespace, e.Chart.Version = project.Name, namespaceOf(o, project), version(project, images)
	e.Chart.Digests, e.Unpinned = pinned(images)
	e.Overlays = overlays(project, images)
	for _, u := range rendered.Units {
		if u.Chart != nil {
			e.Beside = append(e.Beside, u.Service)
		}
	}
	return e, nil
}

// exported are the units of an output as parts of a chart.
func exported(rendered render.Output, images map[string]image.Image) chart.Project {
	p := chart.Project{Volumes: rendered.Volumes}
	for _, u := range rendered.Units {
		if u.Chart != nil {
			continue
		}
		part := chart.Part{Service: u.Service, Config: u.Config, Objects: u.Objects, Shell: images[u.Service].Shell}
		for _, job := range u.Migrations {
			part.Migrations = append(part.Migrations, runtime.Object(job))
		}
		for _, d := range u.DependsOn {
			part.DependsOn = append(part.DependsOn, d.Service)
		}
		p.Units = append(p.Units, part)
	}
	return p
}

// version is what the images that the project builds are tagged with, "" when it builds none.
func version(project *compose.Project, images map[string]image.Image) string {
	for _, name := range built(project.ServiceNames(), project) {
		if tag := tagOf(images[name].Ref); tag != "" {
			return tag
		}
	}
	return ""
}

// pinned are the digests of images by name, and the names of those that have none.
func pinned(images map[string]image.Image) (digests map[string]string, without []string) {
	digests = map[string]string{}
	for _, key := range sortedKeys(images) {
		i := images[key]
		switch {
		case strings.Contains(i.Ref, "@"): // it says so itself
		case i.Pulled && i.Digest != "":
			digests[i.Ref] = i.Digest
		case !slices.Contains(without, i.Ref):
			without = append(without, i.Ref)
		}
	}
	slices.Sort(without)
	return digests, without
}

// overlays are the project's targets, as far as a kustomization can tell them: without overrides:, which are other
// Compose files.
func overlays(project *compose.Project, images map[string]image.Image) []chart.Overlay {
	if project.Target.Name != "" {
		return nil
	}
	var all []chart.Overlay
	for _, name := range slices.Sorted(maps.Keys(project.Targets)) {
		t := project.Targets[name]
		o := chart.Overlay{
			Name: name, Namespace: cmp.Or(t.Namespace, project.Namespace), StorageClass: t.StorageClass, Replicas: t.Replicas,
			Images: map[string]string{}, Overrides: t.Overrides,
		}
		for _, service := range built(project.ServiceNames(), project) {
			repository, _, _ := strings.Cut(images[service].Ref, "@")
			repository = strings.TrimSuffix(repository, ":"+tagOf(repository))
			if t.Registry != "" && repository != "" {
				_, path, _ := strings.Cut(repository, "/")
				o.Images[repository] = strings.TrimSuffix(t.Registry, "/") + "/" + strings.TrimPrefix(path, "library/")
			}
		}
		all = append(all, o)
	}
	return all
}
