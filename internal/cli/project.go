package cli

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
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
		Target:      a.globals.target,
		Secrets:     a.openSecrets,
		Embedded:    a.contextName() == a.cluster().Context(),
	}
}

// project reads the Compose file.
func (a *app) project(ctx context.Context) (*compose.Project, error) {
	return compose.Load(ctx, a.composeOptions())
}

// projectNames reads the Compose file for what is where and what it is called: secrets that cannot be decrypted are missing
// in it.
func (a *app) projectNames(ctx context.Context) (*compose.Project, error) {
	o := a.composeOptions()
	o.NamesOnly = true
	return compose.Load(ctx, o)
}

// deployed is where a project's pods are.
type deployed struct {
	namespace string
	services  []string          // of the Compose file; nil when it was not read
	podOf     map[string]string // by service: the one in whose pod it runs, which is itself for most

	restarts map[string][]string // by service: those that depend on it with restart: true
	releases map[string]string   // by service that is somebody else's chart: its Helm release
	provided map[string]string   // by service that is provided from elsewhere: where that is
}

// deployed is the namespace of the project: -n, else the name of -p, for which no Compose file is needed, else that of
// the Compose file.
func (a *app) deployed(ctx context.Context) (deployed, error) {
	g := a.globals
	if g.projectName != "" && len(g.files) == 0 {
		return deployed{namespace: orElse(g.namespace, compose.Name(g.projectName))}, nil
	}
	project, err := a.projectNames(ctx)
	if err != nil {
		return deployed{}, err
	}
	d := deployed{
		namespace: orElse(g.namespace, project.Namespace), services: project.ServiceNames(),
		podOf: map[string]string{}, restarts: map[string][]string{}, releases: map[string]string{}, provided: map[string]string{},
	}
	for _, service := range d.services {
		d.podOf[service] = compose.PodOf(project.Project, service)
		x := project.Services[service]
		if x.Chart != nil {
			d.releases[service] = project.Release(service)
		}
		if x.Provided != nil {
			d.provided[service] = x.Provided.Where()
		}
		for on, how := range project.Project.Services[service].DependsOn {
			if how.Restart {
				d.restarts[on] = append(d.restarts[on], service)
			}
		}
	}
	return d, nil
}

// pod is the service in whose pod a service runs.
func (d deployed) pod(service string) string { return orElse(d.podOf[service], service) }

// selector lets the pods of one service through.
func (d deployed) selector(service string) string {
	if release := d.releases[service]; release != "" {
		return kube.InstanceLabel + "=" + release
	}
	return kube.Selector(d.namespace, compose.Name(d.pod(service)))
}

// all lets all pods of the project through, those of others' charts too.
func (d deployed) all() string {
	return kube.Instances(d.namespace, slices.Sorted(maps.Values(d.releases))...)
}

// container is the name of a service's container, "" for the only one of a chart's pod.
func (d deployed) container(service string) string {
	if d.releases[service] != "" {
		return ""
	}
	return compose.Name(service)
}

// notElsewhere refuses a service that has no pod here.
func (d deployed) notElsewhere(service, hint string) error {
	if where := d.provided[service]; where != "" {
		return fault.New(fault.Usage, hint, "service %q is provided from elsewhere (%s): it has no pod in this cluster", service, where)
	}
	return nil
}

// pods are the services in whose pods the named ones run, each once.
func (d deployed) pods(services []string) []string {
	var all []string
	for _, service := range services {
		if pod := d.pod(service); !slices.Contains(all, pod) {
			all = append(all, pod)
		}
	}
	return all
}

// others are the services that run in a pod of the named ones and are not named. Without names there are none.
func (d deployed) others(services []string) []string {
	var all []string
	for _, service := range d.services {
		if !slices.Contains(services, service) && slices.Contains(d.pods(services), d.pod(service)) {
			all = append(all, service)
		}
	}
	return all
}

// restartedWith are the services, not among the named, that want to be restarted when one of these is, those that they take
// with them included. They are named by their pods.
func (d deployed) restartedWith(services []string) []string {
	seen := d.pods(services)
	named := len(seen)
	for i := 0; i < len(seen); i++ {
		for on, dependents := range d.restarts {
			if d.pod(on) != seen[i] {
				continue
			}
			for _, pod := range d.pods(dependents) {
				if !slices.Contains(seen, pod) {
					seen = append(seen, pod)
				}
			}
		}
	}
	return slices.Sorted(slices.Values(seen[named:]))
}

// checkServices refuses services that the Compose file does not have. Nothing is known when it was not read.
func checkServices(named, known []string) error {
	if known == nil {
		return nil
	}
	for _, name := range named {
		if !slices.Contains(known, name) {
			return compose.Unknown("service", name, known)
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
