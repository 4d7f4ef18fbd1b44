package schema

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Connection is how a client of the project reaches its database.
type Connection struct {
	Service  string // of the Compose file, in whose pod the server listens
	Port     uint16 // in that pod
	User     string
	Password string
	Database string
	TLS      bool // the server is to be spoken to with TLS
}

// String has no password, for logs.
func (c Connection) String() string {
	return fmt.Sprintf("database %s of service %s as %s", c.Database, c.Service, c.User)
}

// GoString keeps the password out of %#v too.
func (c Connection) GoString() string { return c.String() }

// Source is what connections are found in.
type Source struct {
	Project *types.Project
	Secrets map[string][]byte // contents of the project's secrets by name, for NAME_FILE variables; may be nil

	Elsewhere func(service string) bool // tells whether a service has no pod in the cluster; nil: each has
}

// defaultPort is PostgreSQL's.
const defaultPort = 5432

// Databases are the services that run a PostgreSQL server, sorted.
func (s Source) Databases() []string {
	var names []string
	for _, name := range s.Project.ServiceNames() {
		if s.isServer(name) && (s.Elsewhere == nil || !s.Elsewhere(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Find is the PostgreSQL connection that a service's own variables name: a URL (DATABASE_URL before others), or a host with
// user, password and name of the database (PG*, POSTGRES_*, DB_*, DATABASE_*). Without any, it is the server that the service
// depends on, or the project's only one, with the server's own credentials. A database that is no service of the project is
// not found. It is pure.
func (s Source) Find(service string) (Connection, bool) {
	config, ok := s.Project.Services[service]
	if !ok {
		return Connection{}, false
	}
	env := s.variables(config.Environment, config.Secrets)
	for _, hook := range config.PreStart {
		if !hook.PerReplica {
			maps.Copy(env, s.variables(hook.Environment, hook.Secrets))
		}
	}
	for _, name := range urlNames(env) {
		if c, isURL := s.fromURL(env[name]); isURL {
			return c, c.Service != ""
		}
	}
	if c, named := s.fromParts(env); named {
		return c, c.Service != ""
	}
	return s.fromServer(config)
}

// urlNames are the variables that may hold the URL of a database, the likeliest first.
func urlNames(env map[string]string) []string {
	names := slices.Sorted(maps.Keys(env))
	slices.SortStableFunc(names, func(a, b string) int { return urlRank(a) - urlRank(b) })
	return names
}

func urlRank(name string) int {
	switch {
	case name == "DATABASE_URL":
		return 0
	case strings.Contains(name, "MIGRAT"): // of a role that may change the schema
		return 1
	case strings.HasSuffix(name, "DATABASE_URL"):
		return 2
	}
	return 3
}

// variables are a container's, with the contents of secrets in place of the NAME_FILE that name them.
func (s Source) variables(env types.MappingWithEquals, secrets []types.ServiceSecretConfig) map[string]string {
	files := map[string]string{}
	for _, secret := range secrets {
		target := secret.Target
		if target == "" {
			target = secret.Source
		}
		if !path.IsAbs(target) {
			target = path.Join("/run/secrets", target)
		}
		if data, there := s.Secrets[secret.Source]; there {
			files[target] = strings.TrimRight(string(data), "\r\n")
		}
	}
	out := map[string]string{}
	for name, value := range env {
		if value == nil {
			continue
		}
		out[name] = *value
		if base, ok := strings.CutSuffix(name, "_FILE"); ok {
			if text, there := files[*value]; there {
				out[base] = text
			}
		}
	}
	return out
}

// fromURL reads postgres://user:password@host:port/name. The scheme may have a driver before or after it, as in
// postgresql+asyncpg://, jdbc:postgresql:// and ecto://. isURL is true for such a URL, and the Service is "" when its host is
// no service of the project.
func (s Source) fromURL(text string) (c Connection, isURL bool) {
	u, err := url.Parse(strings.TrimPrefix(text, "jdbc:"))
	if err != nil || u.Host == "" {
		return c, false
	}
	scheme, _, _ := strings.Cut(u.Scheme, "+")
	if !slices.Contains([]string{"postgres", "postgresql", "ecto", "postgis", "pgx", "pgx5"}, scheme) {
		return c, false
	}
	c.Service = s.serviceAt(u.Hostname())
	if c.Service == "" || scheme == "ecto" && !s.isServer(c.Service) { // ecto:// may be MySQL
		return Connection{}, c.Service == ""
	}
	query := u.Query()
	password, _ := u.User.Password()
	c.User, c.Password = first(u.User.Username(), query.Get("user")), first(password, query.Get("password"))
	c.Database = strings.TrimPrefix(u.Path, "/")
	c.Port = port(u.Port())
	c.TLS = slices.Contains([]string{"require", "verify-ca", "verify-full"}, query.Get("sslmode"))
	return s.filled(c), true
}

// fromParts reads a host, and beside it what else is said. named is true when there is a host.
func (s Source) fromParts(env map[string]string) (c Connection, named bool) {
	for _, prefix := range []string{"PG", "POSTGRES_", "POSTGRESQL_", "DB_", "DATABASE_"} {
		of := func(names ...string) string {
			for _, name := range names {
				if v := env[prefix+name]; v != "" {
					return v
				}
			}
			return ""
		}
		host := of("HOST", "SERVER", "HOSTNAME", "HOSTADDR")
		if host == "" {
			continue
		}
		host, atPort, _ := strings.Cut(host, ":")
		c.Service = s.serviceAt(host)
		if strings.HasPrefix(prefix, "D") && c.Service != "" && !s.isServer(c.Service) {
			return Connection{}, false // it says nothing of PostgreSQL, and is not
		}
		if c.Service == "" {
			return Connection{}, true
		}
		c.User, c.Password = of("USER", "USERNAME"), of("PASSWORD", "PASS", "PASSWD")
		c.Database = of("DATABASE", "DB", "NAME", "DBNAME")
		c.Port = port(first(atPort, of("PORT")))
		return s.filled(c), true
	}
	return c, false
}

// fromServer is the one server that a service depends on, else the project's only one, with the server's credentials.
func (s Source) fromServer(config types.ServiceConfig) (Connection, bool) {
	servers := s.Databases()
	var needed []string
	for _, name := range servers {
		if _, depends := config.DependsOn[name]; depends {
			needed = append(needed, name)
		}
	}
	if len(needed) == 0 {
		needed = servers
	}
	if len(needed) != 1 {
		return Connection{}, false
	}
	return s.filled(Connection{Service: needed[0], Port: defaultPort}), true
}

// filled completes a connection from the server's own variables, as the images postgres and bitnami/postgresql have them.
func (s Source) filled(c Connection) Connection {
	config := s.Project.Services[c.Service]
	env := s.variables(config.Environment, config.Secrets)
	user := first(env["POSTGRES_USER"], env["POSTGRESQL_USERNAME"], env["POSTGRESQL_USER"], "postgres")
	if c.User == "" {
		c.User = user
	}
	if c.Password == "" && c.User == user {
		c.Password = first(env["POSTGRES_PASSWORD"], env["POSTGRESQL_PASSWORD"])
	}
	if c.Database == "" {
		c.Database = first(env["POSTGRES_DB"], env["POSTGRESQL_DATABASE"], c.User)
	}
	return c
}

// serviceAt is the service that answers at a host name in the project's networks, "" when none does.
func (s Source) serviceAt(host string) string {
	if _, there := s.Project.Services[host]; there && s.Elsewhere != nil && s.Elsewhere(host) {
		return ""
	} else if there {
		return host
	}
	for _, name := range s.Project.ServiceNames() {
		config := s.Project.Services[name]
		if config.ContainerName == host || config.Hostname == host {
			return name
		}
		for _, n := range config.Networks {
			if n != nil && slices.Contains(n.Aliases, host) {
				return name
			}
		}
	}
	return ""
}

// isServer tells whether a service runs PostgreSQL: by its image's name, else because it checks its health with the server's
// own program or has the variables that only the server has.
func (s Source) isServer(service string) bool {
	config := s.Project.Services[service]
	image := config.Image
	if at := strings.IndexByte(image, '@'); at >= 0 {
		image = image[:at]
	}
	base, _, _ := strings.Cut(path.Base(image), ":")
	if config.Build == nil && base != "" {
		return serverImage(base)
	}
	if config.HealthCheck != nil && strings.Contains(strings.Join(config.HealthCheck.Test, " "), "pg_isready") {
		return true
	}
	_, password := config.Environment["POSTGRES_PASSWORD"]
	_, folder := config.Environment["PGDATA"]
	return folder || password && config.Environment["POSTGRES_HOST"] == nil && slices.Contains([]string{"db", "database", "postgres", "postgresql", "pg"}, service)
}

// serverImage tells images of the server from those of tools for it.
func serverImage(base string) bool {
	for _, tool := range []string{"exporter", "backup", "postgrest", "pgbouncer", "pgadmin", "pgpool", "client", "migrat"} {
		if strings.Contains(base, tool) {
			return false
		}
	}
	for _, server := range []string{"postgres", "postgis", "timescale", "pgvector", "pgvecto", "spilo", "paradedb"} {
		if strings.Contains(base, server) {
			return true
		}
	}
	return false
}

func port(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return defaultPort
	}
	return uint16(n)
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
