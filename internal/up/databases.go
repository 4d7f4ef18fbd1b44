package up

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/schema"
)

// askDatabase bounds how long a database is asked for its version: it is good to know, and no reason to be late.
const askDatabase = time.Second

// errNoDatabase says that a service uses no database that is a service of the project.
var errNoDatabase = errors.New("no PostgreSQL of the project is found that it uses")

// databases are those of a project, by the services that use them.
type databases struct {
	client    *kube.Client
	project   *compose.Project
	namespace string
	late      *sync.Map // services whose database did not answer in time: they are not asked again
}

func databasesOf(client *kube.Client, project *compose.Project, namespace string) databases {
	return databases{client, project, namespace, &sync.Map{}}
}

// state is the version of the database that a service uses.
func (d databases) state(ctx context.Context, service string) (schema.State, error) {
	c, found := sourceOf(d.project).Find(service)
	if !found {
		return nil, errNoDatabase
	}
	ctx, cancel := context.WithTimeout(ctx, askDatabase)
	defer cancel()
	pod, err := d.client.RunningPod(ctx, d.namespace, selectorOf(d.project, d.namespace, c.Service), c.Service, 0)
	if err != nil {
		return nil, err
	}
	return schema.Read(ctx, c, func(ctx context.Context) (net.Conn, error) {
		return d.client.DialPod(ctx, d.namespace, pod.Name, c.Port)
	})
}

// version is the state as a release records it, "" when the database does not tell.
func (d databases) version(ctx context.Context, service string) string {
	if _, late := d.late.Load(service); late {
		return ""
	}
	state, err := d.state(ctx, service)
	if errors.Is(err, context.DeadlineExceeded) {
		d.late.Store(service, true)
	}
	if err != nil {
		slog.InfoContext(ctx, "the version of the database is not known", "service", service, "error", err) // seen with --debug
	}
	return state.String()
}

func sourceOf(project *compose.Project) schema.Source {
	return schema.Source{Project: project.Project, Secrets: project.SecretData, Elsewhere: provided(project)}
}

// provided tells which services are provided from elsewhere, and so have no pod.
func provided(project *compose.Project) func(string) bool {
	return func(service string) bool { return project.Services[service].Provided != nil }
}

// executing are the options with which the session's plans are executed.
func (s *Session) executing(ctx context.Context, changes bool) release.ExecuteOptions {
	o := s.options
	options := release.ExecuteOptions{
		Timeout: o.Timeout, Planned: o.Planned, LockWait: o.LockWait, HistoryMax: o.HistoryMax,
		Schema: databasesOf(s.client, s.project, namespaceOf(o, s.project)).version,
	}
	if changes {
		options.Holder = holder(ctx, s.project)
	}
	return options
}
