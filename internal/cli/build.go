package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// buildFlags are the flags of build.
type buildFlags struct {
	noCache, pull, push bool

	to registryFlags
}

func newBuildCommand(a *app) *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:               "build [SERVICE...]",
		Short:             "Build the images of services, into the cluster's store or a registry",
		Example:           "perch build web\nperch build --push --registry registry.example/shop --platform linux/amd64,linux/arm64",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("1 failed, 2 usage, 10 build, 11 Compose file"),
	}
	c.Flags().BoolVar(&f.noCache, "no-cache", false, "build every step anew")
	c.Flags().BoolVar(&f.pull, "pull", false, "ask the registry for newer base images")
	c.Flags().BoolVar(&f.push, "push", false, "push them to a registry: the target's, or that of --registry")
	f.to.addTo(c.Flags())
	return a.command(c, func(ctx context.Context, services []string) error {
		return a.build(ctx, f, services)
	})
}

// builtJSON is an image as `perch build -o json` prints it.
type builtJSON struct {
	Service string `json:"service"` // or job/NAME
	Image   string `json:"image"`
	Digest  string `json:"digest"`
	Built   bool   `json:"built"`          // false: it was there already
	Base    string `json:"base,omitempty"` // NAME@sha256:… of the image that it was built on
}

func (a *app) build(ctx context.Context, f buildFlags, services []string) error {
	if err := f.check(a); err != nil {
		return err
	}
	o := a.upOptions(services)
	o.Build, o.Pull = !f.push, f.pull // a registry that has it gets nothing new
	f.to.set(&o)
	if f.push {
		o.Registry = orElse(f.to.registry, a.target.Registry)
	}
	images, err := up.Build(ctx, o, f.noCache, a.progress())
	if err != nil {
		return err
	}
	values := make([]builtJSON, 0, len(images))
	r := ui.Result{Header: []string{"SERVICE", "IMAGE", "STATE"}, Empty: "no service has build: nothing to do"}
	for _, key := range slices.Sorted(maps.Keys(images)) {
		i, state := images[key], "was there"
		if i.Built {
			state = f.made()
		}
		r.Rows = append(r.Rows, []string{key, shortImage(i.Ref), state})
		r.Names = append(r.Names, shortImage(i.Ref))
		values = append(values, builtJSON{key, i.Ref, i.Digest, i.Built, i.Base})
	}
	r.Value = values
	return a.result(r)
}
