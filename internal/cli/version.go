package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/ui"
)

// versions are the versions of Perch and of what it carries. Its JSON form is documented.
type versions struct {
	Perch      string `json:"perch"`
	Kubernetes string `json:"kubernetes"`
	Helm       string `json:"helm"`
	BuildKit   string `json:"buildkit"`
	Containerd string `json:"containerd"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func newVersionCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "version",
		Short:   "Print the versions of Perch and of what it carries",
		Example: "perch version\nperch version -o json",
		Args:    cobra.NoArgs,
	}, func(context.Context, []string) error {
		v := builtVersions(a.env.Version)
		return a.result(ui.Result{
			Header: []string{"PART", "VERSION"},
			Rows: [][]string{
				{"Perch", v.Perch}, {"Kubernetes", v.Kubernetes}, {"Helm", v.Helm}, {"BuildKit", v.BuildKit},
				{"containerd", v.Containerd}, {"Go", v.Go}, {"platform", v.Platform},
			},
			Names: []string{v.Perch},
			Value: v,
		})
	})
}

// builtVersions are the versions in this binary: Perch's own when the linker was given one, and what Go's build wrote
// down of the modules that are really in it.
func builtVersions(perch string) versions {
	v := versions{Perch: "unknown", Kubernetes: "unknown", Helm: "unknown", BuildKit: "unknown", Containerd: "unknown",
		Go: strings.TrimPrefix(runtime.Version(), "go"), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Perch = orElse(perch, orElse(info.Main.Version, v.Perch))
	parts := map[string]*string{
		"k8s.io/kubernetes":                   &v.Kubernetes,
		"helm.sh/helm/v4":                     &v.Helm,
		"github.com/moby/buildkit":            &v.BuildKit,
		"github.com/containerd/containerd/v2": &v.Containerd,
	}
	for _, dep := range info.Deps {
		if to := parts[dep.Path]; to != nil {
			*to = dep.Version
		}
	}
	return v
}
