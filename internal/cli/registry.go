package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/up"
)

// registryFlags say where built images go, and what for.
type registryFlags struct {
	registry  string
	platforms []string
}

func (f *registryFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.registry, "registry", "", "push built images below `HOST/PATH`, instead of the target's registry")
	flags.StringSliceVar(&f.platforms, "platform", nil, "build for this `PLATFORM`, as linux/arm64, not for the cluster's nodes; repeatable")
}

func (f *registryFlags) set(o *up.Options) {
	o.Registry, o.Platforms = f.registry, slices.Clone(f.platforms)
}

// check refuses flags that do not go together. Without --push images stay on this machine, for its own cluster.
func (f buildFlags) check(a *app) error {
	switch {
	case f.push && f.to.registry == "" && a.target.Registry == "":
		return fault.New(fault.Usage, "name one: --registry HOST/PATH, or --target NAME of one that has a registry", "--push: no registry is named")
	case f.push:
		return nil
	case f.to.registry != "" || len(f.to.platforms) > 0:
		return fault.New(fault.Usage, "add --push", "--registry and --platform are for images that are pushed")
	}
	return a.onlyEmbedded()
}

// made is what became of an image, in a word.
func (f buildFlags) made() string {
	if f.push {
		return "pushed"
	}
	return "built"
}
