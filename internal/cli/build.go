package cli

import (
	"context"

	"github.com/spf13/cobra"
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
