package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/schema"
)

// psqlScript starts psql in the database's container with the credentials that the container has in its own environment, as
// the images postgres and bitnami/postgresql name them. They stay there: what we send holds none, and psql takes them from its
// environment, so that none stands in a list of processes. What the caller gives (-U, -d, a name) goes before them. Debian's
// psql shows what is long through a program that small images lack, and then shows nothing: without one it needs no pager.
const psqlScript = `export PGUSER="${POSTGRES_USER:-${POSTGRESQL_USERNAME:-postgres}}"
export PGDATABASE="${POSTGRES_DB:-${POSTGRESQL_DATABASE:-$PGUSER}}"
file="${POSTGRES_PASSWORD_FILE:-$POSTGRESQL_PASSWORD_FILE}"
if [ -n "$file" ] && [ -r "$file" ]; then PGPASSWORD="$(cat "$file")"; else PGPASSWORD="${POSTGRES_PASSWORD:-$POSTGRESQL_PASSWORD}"; fi
export PGPASSWORD
if [ -z "$PSQL_PAGER$PAGER" ] && ! command -v pager >/dev/null; then
  PSQL_PAGER="$(command -v less)"; export PSQL_PAGER
fi
exec psql "$@"`

func newPsqlCommand(a *app) *cobra.Command {
	var commands []string
	noTTY := false
	c := &cobra.Command{
		Use:   "psql [SERVICE] [-- ARG...]",
		Short: "Open psql on the app's PostgreSQL, with its own credentials",
		Example: "perch psql\nperch psql -c 'select count(*) from greetings'\n" +
			"perch psql postgres -- --csv -f - < report.sql > report.csv",
		ValidArgsFunction: a.completeService,
		Annotations:       exits("psql's own, 2 usage, 11 Compose file, 15 no cluster"),
	}
	flags := c.Flags()
	flags.StringArrayVarP(&commands, "command", "c", nil, "run one `SQL` command and end; repeatable")
	flags.BoolVarP(&noTTY, "no-tty", "T", false, "no terminal for psql; there is none without one here")
	return a.command(c, func(ctx context.Context, args []string) error {
		services, rest := args, []string(nil)
		if at := c.ArgsLenAtDash(); at >= 0 {
			services, rest = args[:at], args[at:]
		}
		if len(services) > 1 {
			return fault.New(fault.Usage, "what is psql's comes after --: perch psql "+services[0]+" -- "+services[1],
				"psql takes one service, not %q too", services[1])
		}
		command := []string{"sh", "-c", psqlScript, "psql"}
		for _, sql := range commands {
			command = append(command, "-c", sql)
		}
		return a.psql(ctx, services, append(command, rest...), !noTTY && len(commands) == 0)
	})
}

func (a *app) psql(ctx context.Context, services, command []string, tty bool) error {
	d, err := a.deployed(ctx)
	if err != nil {
		return err
	}
	service, err := a.database(ctx, d, services)
	if err != nil {
		return err
	}
	client, err := a.kube(d.namespace)
	if err != nil {
		return err
	}
	if err := d.notElsewhere(service, "use a psql of this machine with the URL that its provider gives"); err != nil {
		return err
	}
	pod, err := client.RunningPod(ctx, d.namespace, d.selector(service), service, 0)
	if err != nil {
		return err
	}
	code, err := a.attach(ctx, client, kube.ExecOptions{
		Namespace: d.namespace, Pod: pod.Name, Container: d.container(service), Command: command,
		TTY: tty && isTerminal(a.env.In) && isTerminal(a.env.Out),
	})
	switch {
	case err != nil && code > 0:
		return explainedExit{err, code}
	case err != nil:
		return err
	case code != 0:
		return commandExit(code)
	}
	return nil
}

// database is the service that runs the PostgreSQL that is meant: the one that is named, the one that the named service uses,
// or the project's only one. Without a Compose file it must be named.
func (a *app) database(ctx context.Context, d deployed, named []string) (string, error) {
	if err := checkServices(named, d.services); err != nil {
		return "", err
	}
	if d.services == nil {
		if len(named) == 0 {
			return "", fault.New(fault.Usage, "name its service: perch psql SERVICE", "which database? the Compose file was not read")
		}
		return named[0], nil
	}
	project, err := a.projectNames(ctx)
	if err != nil {
		return "", err
	}
	source := schema.Source{
		Project: project.Project, Secrets: project.SecretData, Elsewhere: func(name string) bool { return d.provided[name] != "" },
	}
	servers := source.Databases()
	if len(named) > 0 {
		c, found := source.Find(named[0])
		if d.provided[named[0]] != "" {
			return named[0], nil // the error says where it is
		}
		for _, server := range servers {
			if server == named[0] {
				return server, nil
			}
		}
		if !found {
			return "", fault.New(fault.Usage, "the databases are: "+list(servers), "service %q neither runs nor uses a PostgreSQL of this project", named[0])
		}
		return c.Service, nil
	}
	switch len(servers) {
	case 0:
		for _, name := range slices.Sorted(maps.Keys(d.provided)) {
			return name, nil
		}
		return "", fault.New(fault.Usage, "if one does, name it: perch psql SERVICE", "no service of the Compose file is known to run PostgreSQL")
	case 1:
		return servers[0], nil
	}
	return "", fault.New(fault.Usage, "name one: perch psql "+servers[0], "there are several databases: %s", list(servers))
}
