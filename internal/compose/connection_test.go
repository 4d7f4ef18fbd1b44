package compose

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// managed is a database elsewhere, with a password that a URL must not hold as it is.
func managed() connection {
	return connection{
		host: "db.example.com", port: "6432", user: "shop_app", password: "p@ss w/rd", database: "shop_prod",
		settings: []string{"sslmode=verify-full", "sslrootcert=/etc/ca.pem"},
	}
}

// TestRewritten: a variable keeps its form and gets other values.
func TestRewritten(t *testing.T) {
	t.Parallel()
	const escaped = "shop_app:p%40ss%20w%2Frd@"
	cases := []struct {
		name  string
		env   map[string]string
		as    connection
		wants map[string]string // those that change
	}{{
		"a URL", map[string]string{"DATABASE_URL": "postgres://app:a/b@c@postgres:5432/shop?sslmode=disable&pool_max_conns=5", "OTHER": "postgres"}, managed(),
		map[string]string{"DATABASE_URL": "postgres://" + escaped + "db.example.com:6432/shop_prod?pool_max_conns=5&sslmode=verify-full&sslrootcert=/etc/ca.pem"},
	}, {
		"a URL without a user, and what stands beside it",
		map[string]string{"SPRING_DATASOURCE_URL": "jdbc:postgresql://postgres/shop", "SPRING_DATASOURCE_USERNAME": "app", "SPRING_DATASOURCE_PASSWORD": "x", "SPRING_PROFILES": "dev"},
		connection{host: "db", user: "u", password: "p", database: "d"},
		map[string]string{"SPRING_DATASOURCE_URL": "jdbc:postgresql://db/d", "SPRING_DATASOURCE_USERNAME": "u", "SPRING_DATASOURCE_PASSWORD": "p"},
	}, {
		"a URL with the user among its settings", map[string]string{"A": "jdbc:postgresql://postgres:5432/shop?user=app&password=x&ssl=true"}, connection{host: "db", user: "u", password: "p&"},
		map[string]string{"A": "jdbc:postgresql://db:5432/shop?user=u&password=p%26&ssl=true"},
	}, {
		"parts", map[string]string{"PGHOST": "postgres", "PGPORT": "5432", "PGUSER": "app", "PGPASSWORD": "x", "PGDATABASE": "shop", "PGAPPNAME": "shop"}, managed(),
		map[string]string{"PGHOST": "db.example.com", "PGPORT": "6432", "PGUSER": "shop_app", "PGPASSWORD": "p@ss w/rd", "PGDATABASE": "shop_prod"},
	}, {
		"a host with its port", map[string]string{"DB_ADDR": "postgres:5432", "DB_NAME": "shop"}, managed(),
		map[string]string{"DB_ADDR": "db.example.com:6432", "DB_NAME": "shop_prod"},
	}, {
		"only the host is known", map[string]string{"REDIS_URL": "redis://:secret@postgres:6379/0", "DB_HOST": "postgres", "DB_PASSWORD": "x"}, connection{host: "10.1.2.3"},
		map[string]string{"REDIS_URL": "redis://:secret@10.1.2.3:6379/0", "DB_HOST": "10.1.2.3"},
	}, {
		"an address of IPv6", map[string]string{"A": "http://postgres:80/x"}, connection{host: "fd00::1"}, map[string]string{"A": "http://[fd00::1]:80/x"},
	}, {
		"settings", map[string]string{"DSN": "host=postgres port=5432 user=app password='x y' dbname=shop connect_timeout=5"}, managed(),
		map[string]string{"DSN": "host=db.example.com port=6432 user=shop_app password='p@ss w/rd' dbname=shop_prod connect_timeout=5"},
	}, {
		"settings of .NET", map[string]string{"C": "Host=postgres;Port=5432;User Id=app;Password=x;Database=shop"}, connection{host: "db", user: "u", password: "p"},
		map[string]string{"C": "Host=db;Port=5432;User Id=u;Password=p;Database=shop"},
	}, {
		"what is the container's own", map[string]string{"HOST": "postgres", "PORT": "4000", "USER": "me", "A_URL": "postgres://postgres-2/x", "B_HOST": "postgresql"}, managed(),
		map[string]string{"HOST": "db.example.com"},
	}, {
		"two URLs in one text", map[string]string{"URLS": "http://postgres:1 http://web:2,http://postgres:3"}, connection{host: "h"},
		map[string]string{"URLS": "http://h:1 http://web:2,http://h:3"},
	}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := types.MappingWithEquals{}
			for name, value := range c.env {
				env[name] = &value
			}
			got := map[string]string{}
			for name, as := range uses(env, []string{"postgres"}) {
				if now := rewritten(*env[name], as, []string{"postgres"}, c.as); now != *env[name] {
					got[name] = now
				}
			}
			if diff := cmp.Diff(c.wants, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
