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
type buildFlags struct{ noCache, pull bool }

func newBuildCommand(a *app) *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:               "build [SERVICE...]",
		Short:             "Build the images of services into the cluster's store",
		Example:           "perch build web",
		ValidArgsFunction: a.completeServices,
		Annotations:       exits("1 failed, 2 usage, 10 build, 11 Compose file"),
	}
	c.Flags().BoolVar(&f.noCache, "no-cache", false, "build every step anew")
	c.Flags().BoolVar(&f.pull, "pull", false, "ask the registry for newer base images")
	return a.command(c, func(ctx context.Context, services []string) error {
		return a.build(ctx, f, services)
	})
}

// builtJSON is an image as `perch build -o json` prints it.
type builtJSON struct {
	Service string `json:"service"` // or job/NAME
	Image   string `json:"image"`
	Digest  string `json:"digest"`
	Built   bool   `json:"built"` // false: it was there already
}

func (a *app) build(ctx context.Context, f buildFlags, services []string) error {
	if err := a.onlyEmbedded(); err != nil {
		return err
	}
	o := a.upOptions(services)
	o.Build, o.Pull = true, f.pull
	images, err := up.Build(ctx, o, f.noCache, a.progress())
	if err != nil {
		return err
	}
	values := make([]builtJSON, 0, len(images))
	r := ui.Result{Header: []string{"SERVICE", "IMAGE", "STATE"}, Empty: "no service has build: nothing to do"}
	for _, key := range slices.Sorted(maps.Keys(images)) {
		i, state := images[key], "was there"
		if i.Built {
			state = "built"
		}
		r.Rows = append(r.Rows, []string{key, shortImage(i.Ref), state})
		r.Names = append(r.Names, shortImage(i.Ref))
		values = append(values, builtJSON{key, i.Ref, i.Digest, i.Built})
	}
	r.Value = values
	return a.result(r)
}
