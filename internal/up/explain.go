package up

import (
	"context"
	"slices"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

// Destinations are where the attribute at a path of the Compose file goes: the fields of Kubernetes objects that are not
// there, or not so, when it is taken out of the file, and what services are waited for because of it. There are none for an
// attribute without which the file cannot be read (image), and for one that is no matter of objects (build). rewind is called
// before the files are read again, for what stands on standard input.
func Destinations(ctx context.Context, o Options, path string, rewind func()) ([]Destination, error) {
	rewind()
	override, err := compose.Without(ctx, o.Compose, path)
	if err != nil {
		return nil, err
	}
	rewind()
	project, with, err := Config(ctx, o)
	if err != nil {
		return nil, err
	}
	o.Compose.Override = override
	rewind()
	less, without, err := Config(ctx, o)
	if err != nil {
		return nil, nil //nolint:nilerr // the file needs the attribute
	}
	more, err := Applicable(o, project, with)
	if err != nil {
		return nil, err
	}
	rest, err := Applicable(o, less, without)
	if err != nil {
		return nil, err
	}
	all, err := destinations(more, rest)
	if err != nil {
		return nil, err
	}
	return append(all, waits(with.Units, without.Units)...), nil
}

// waits is what the first units wait for and the second do not.
func waits(with, without []render.Unit) []Destination {
	before := map[string][]render.Dependency{}
	for _, u := range without {
		before[u.Service] = u.DependsOn
	}
	var all []Destination
	for _, u := range with {
		for _, d := range u.DependsOn {
			if !slices.Contains(before[u.Service], d) {
				all = append(all, Destination{Object: "release " + u.Release, Field: "after " + d.Service + " (" + d.Condition + ")"})
			}
		}
	}
	return all
}
