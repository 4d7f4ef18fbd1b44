package schema

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// read makes a project of the text of a Compose file.
func source(t *testing.T, text string) Source {
	t.Helper()
	p, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: "/", ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}},
	}, func(o *loader.Options) { o.SetProjectName("shop", true); o.SkipConsistencyCheck = true })
	if err != nil {
		t.Fatal(err)
	}
	return Source{Project: p, Secrets: map[string][]byte{"pg": []byte("from a file\n")}}
}

const server = `
  db:
    image: postgres:18
    environment: {POSTGRES_USER: admin, POSTGRES_PASSWORD: geheim, POSTGRES_DB: shop}
`

func TestFind(t *testing.T) {
	t.Parallel()
	own := Connection{"db", 5432, "admin", "geheim", "shop", false}
	none := Connection{}
	for name, c := range map[string]struct {
		services string
		want     Connection
	}{
		"a URL": {server + "  web: {image: web, environment: {DATABASE_URL: 'postgres://me:p%40ss@db/mine'}}",
			Connection{"db", 5432, "me", "p@ss", "mine", false}},
		"a URL with port, driver and TLS": {server + "  web: {image: web, environment: {SQLALCHEMY_URI: 'postgresql+asyncpg://me:x@db:5433/mine?sslmode=require'}}",
			Connection{"db", 5433, "me", "x", "mine", true}},
		"jdbc": {server + "  web: {image: web, environment: {SPRING_DATASOURCE_URL: 'jdbc:postgresql://db:5432/mine?user=me&password=x'}}",
			Connection{"db", 5432, "me", "x", "mine", false}},
		"ecto": {server + "  web: {image: web, environment: {DATABASE_URL: 'ecto://me:x@db/mine'}}",
			Connection{"db", 5432, "me", "x", "mine", false}},
		"DATABASE_URL before others": {server + "  web: {image: web, environment: {AAA: 'postgres://a@db/a', DATABASE_URL: 'postgres://me:x@db/mine'}}",
			Connection{"db", 5432, "me", "x", "mine", false}},
		"the server's password for its own user": {server + "  web: {image: web, environment: {DATABASE_URL: 'postgres://admin@db/shop'}}", own},
		"not for another user": {server + "  web: {image: web, environment: {DATABASE_URL: 'postgres://me@db/shop'}}",
			Connection{"db", 5432, "me", "", "shop", false}},
		"a migration's own variables": {server + "  web: {image: web, pre_start: [{command: [m], environment: {DATABASE_URL: 'postgres://owner:x@db/shop'}}], environment: {DATABASE_URL: 'postgres://me:x@db/shop'}}",
			Connection{"db", 5432, "owner", "x", "shop", false}},
		"PG variables": {server + "  web: {image: web, environment: {PGHOST: db, PGUSER: me, PGPASSWORD: x, PGDATABASE: mine, PGPORT: '5433'}}",
			Connection{"db", 5433, "me", "x", "mine", false}},
		"POSTGRES variables, the rest from the server": {server + "  web: {image: web, environment: {POSTGRES_SERVER: db}}", own},
		"DB variables": {server + "  web: {image: web, environment: {DB_HOST: 'db:5432', DB_USERNAME: me, DB_PASSWORD: x, DB_DATABASE: mine}}",
			Connection{"db", 5432, "me", "x", "mine", false}},
		"DB variables of MySQL": {"  my: {image: mysql}\n  web: {image: web, environment: {DB_HOST: my, DB_USERNAME: me}}", none},
		"an alias": {"  db: {image: postgres, networks: {default: {aliases: [primary]}}, environment: {POSTGRES_PASSWORD: geheim}}\n  web: {image: web, environment: {DATABASE_URL: 'postgres://primary/mine'}}",
			Connection{"db", 5432, "postgres", "geheim", "mine", false}},
		"the one it depends on": {server + "  other: {image: postgres}\n  web: {image: web, depends_on: [db]}", own},
		"the only one":          {server + "  web: {image: web}", own},
		"two, and nothing said": {server + "  other: {image: postgres}\n  web: {image: web}", none},
		"a database elsewhere":  {server + "  web: {image: web, environment: {DATABASE_URL: 'postgres://me:x@db.example.com/mine'}}", none},
		"a host elsewhere":      {server + "  web: {image: web, environment: {PGHOST: 10.0.0.1}}", none},
		"a password in a file": {"  db: {image: 'postgis/postgis:17', secrets: [pg], environment: {POSTGRES_PASSWORD_FILE: /run/secrets/pg}}\n  web: {image: web}",
			Connection{"db", 5432, "postgres", "from a file", "postgres", false}},
		"bitnami": {"  db: {image: 'bitnami/postgresql', environment: {POSTGRESQL_USERNAME: me, POSTGRESQL_PASSWORD: x, POSTGRESQL_DATABASE: mine}}\n  web: {image: web}",
			Connection{"db", 5432, "me", "x", "mine", false}},
		"built, with the server's health check": {"  data: {build: ., healthcheck: {test: [CMD, pg_isready]}, environment: {POSTGRES_PASSWORD: x}}\n  web: {image: web}",
			Connection{"data", 5432, "postgres", "x", "postgres", false}},
		"tools for it are not it": {"  db: {image: 'prometheuscommunity/postgres-exporter'}\n  rest: {image: postgrest/postgrest}\n  web: {image: web}", none},
		"no database":             {"  web: {image: web, environment: {URL: 'http://web/'}}", none},
	} {
		s := source(t, "services:\n"+c.services+"\nsecrets: {pg: {environment: PG}}\n")
		got, ok := s.Find("web")
		if ok != (c.want != none) || got != c.want {
			t.Errorf("%s: found %t, %s port %d with password %q; want %s port %d with %q", name, ok, got, got.Port, got.Password, c.want, c.want.Port, c.want.Password)
		}
	}
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	s := source(t, "services:\n  web: {image: web}\n  b: {image: 'timescale/timescaledb:latest-pg17'}\n  a: {image: 'registry:5000/postgres@sha256:"+strings.Repeat("0", 64)+"'}\n")
	if diff := cmp.Diff([]string{"a", "b"}, s.Databases()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConnectionHidesPassword(t *testing.T) {
	t.Parallel()
	c := Connection{"db", 5432, "me", "geheim", "shop", false}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, c); strings.Contains(text, "geheim") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// TestFindElsewhere: a server that runs elsewhere has no pod, so it is none of the project's.
func TestFindElsewhere(t *testing.T) {
	t.Parallel()
	s := source(t, "services:"+server+"  web: {image: web, depends_on: [db]}\n  worker: {image: web, environment: {PGHOST: db}}\n")
	s.Elsewhere = func(service string) bool { return service == "db" }
	if found := s.Databases(); len(found) > 0 {
		t.Errorf("databases %v", found)
	}
	for _, service := range []string{"web", "worker"} {
		if c, found := s.Find(service); found {
			t.Errorf("service %s uses %v", service, c)
		}
	}
}
