package cli

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// composeOptions say how the Compose file is found and read, by the global flags and the environment.
func (a *app) composeOptions() compose.Options {
	g := a.globals
	return compose.Options{
		WorkingDir:  a.env.WorkDir,
		ProjectDir:  g.projectDir,
		Files:       g.files,
		Stdin:       a.env.In,
		ProjectName: g.projectName,
		Profiles:    g.profiles,
		EnvFiles:    g.envFiles,
		Environment: a.env.variables(),
		Embedded:    a.contextName() == a.cluster().Context(),
	}
}

// project reads the Compose file.
func (a *app) project(ctx context.Context) (*compose.Project, error) {
	return compose.Load(ctx, a.composeOptions())
}

// projectNamespace is the namespace of the project: -n, else the name of -p, for which no Compose file is needed, else
// that of the Compose file. services are those of the file, nil when it was not read.
func (a *app) projectNamespace(ctx context.Context) (namespace string, services []string, err error) {
	g := a.globals
	if g.projectName != "" && len(g.files) == 0 {
		return orElse(g.namespace, compose.Name(g.projectName)), nil, nil
	}
	project, err := a.project(ctx)
	if err != nil {
		return "", nil, err
	}
	return orElse(g.namespace, project.Namespace), project.ServiceNames(), nil
}

// checkServices refuses services that the Compose file does not have. Nothing is known when it was not read.
func checkServices(named, known []string) error {
	if known == nil {
		return nil
	}
	for _, name := range named {
		if !slices.Contains(known, name) {
			return fault.New(fault.Usage, "the services are: "+list(known), "no service %q in the Compose file", name)
		}
	}
	return nil
}

func (a *app) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.env.WorkDir, path)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
