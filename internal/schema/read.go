package schema

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Dial opens a connection to the server.
type Dial func(ctx context.Context) (net.Conn, error)

// ErrRefused is in the tree of the error of Read when the server answers and does not let us in.
var ErrRefused = errors.New("the server does not accept the credentials")

// Read asks the database for the version of its schema. A database without a known table has the empty State. It takes two
// requests, and one more for each tool. The password is in no error.
func Read(ctx context.Context, c Connection, dial Dial) (State, error) {
	config, err := c.config(dial)
	if err != nil {
		return nil, fmt.Errorf("database of service %s: %w", c.Service, err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(refused.Code, "28") { // class 28: authorization
			err = fmt.Errorf("%w: %s", ErrRefused, refused.Message)
		}
		return nil, fmt.Errorf("database of service %s: %w", c.Service, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it was only read
	state, err := read(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("database of service %s: %w", c.Service, err)
	}
	return state, nil
}

// config is pgx's. Parsing fills it from the process's environment too, which must not decide where we ask and as whom:
// everything that could come from there is set anew.
func (c Connection) config(dial Dial) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.User, config.Password, config.Database = "localhost", c.Port, c.User, c.Password, c.Database
	config.Fallbacks, config.ValidateConnect, config.AfterConnect = nil, nil, nil
	config.RuntimeParams = map[string]string{"application_name": "perch"}
	config.TLSConfig = nil
	if c.TLS {
		// The connection goes to a pod through the API server, under no name that a certificate could have.
		config.TLSConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // see above
	}
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // a pooler between us may not keep prepared statements
	return config, nil
}

func read(ctx context.Context, conn *pgx.Conn) (State, error) {
	there, err := look(ctx, conn)
	if err != nil {
		return nil, err
	}
	state := State{}
	for _, f := range there {
		t, ok := f.known()
		if !ok || slices.ContainsFunc(state, func(v Version) bool { return v.Tool == t.tool }) {
			continue // another schema has one too: what the search path finds first counts
		}
		rows, err := conn.Query(ctx, fmt.Sprintf(t.query, pgx.Identifier{f.schema, f.name}.Sanitize()))
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", f.name, err)
		}
		all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
			var one row
			return one, r.Scan(&one.version, &one.name, &one.failed)
		})
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", f.name, err)
		}
		state = append(state, t.version(all))
	}
	slices.SortFunc(state, func(a, b Version) int { return strings.Compare(a.Tool, b.Tool) })
	return state, nil
}

// lookQuery finds tables by name, with their columns: those that the search path finds first, then by the name of the
// schema.
const lookQuery = `SELECT n.nspname, c.relname, array_to_string(array_agg(a.attname::text), ' ')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relname = ANY ($1)
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
GROUP BY c.oid, n.nspname, c.relname
ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname, c.relname`

func look(ctx context.Context, conn *pgx.Conn) ([]found, error) {
	var names []string
	for _, t := range tables() {
		if !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	rows, err := conn.Query(ctx, lookQuery, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (found, error) {
		var f found
		var columns string
		err := r.Scan(&f.schema, &f.name, &columns)
		f.columns = strings.Fields(columns)
		return f, err
	})
}
