// Package database holds what the application keeps in PostgreSQL: its schema, its first rows and its queries. It knows
// nothing of HTTP.
package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxConns of one pod. Small on purpose: replicas, and the surge of a rollout, multiply it, and PostgreSQL allows 100.
const maxConns = 4

// Database is a pool of connections. Its methods may be called from several goroutines.
type Database struct {
	pool *pgxpool.Pool
}

// Open makes the pool. It does not connect: a server must be able to start, and say that it is not ready, while its
// database is down. The error does not contain the URL.
func Open(ctx context.Context, url string) (*Database, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("DATABASE_URL: PostgreSQL's driver cannot read it; check its options after the ?")
	}
	config.MaxConns = maxConns
	config.ConnConfig.ConnectTimeout = 3 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = "kube-native"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Database{pool: pool}, nil
}

// Close waits for queries under way and closes all connections.
func (d *Database) Close() { d.pool.Close() }

// Ping is one round trip.
func (d *Database) Ping(ctx context.Context) error { return d.pool.Ping(ctx) }

// Wait pings until the database answers or ctx ends. It is for one-shot commands, which may come before the database is
// up when they are started by hand. What waiting cannot mend, such as a wrong password, ends it at once.
func (d *Database) Wait(ctx context.Context) error {
	for {
		err := d.Ping(ctx)
		if err == nil || !mayPass(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("database does not answer: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// mayPass says that an error is of the network, or the server's own "starting up", "shutting down" or "too many
// clients": https://www.postgresql.org/docs/current/errcodes-appendix.html.
func mayPass(err error) bool {
	var fromServer *pgconn.PgError
	if !errors.As(err, &fromServer) {
		return true
	}
	switch fromServer.Code {
	case "57P01", "57P02", "57P03", "53300":
		return true
	}
	return false
}

// Greeting is one row of the page.
type Greeting struct {
	Language  string
	Words     string
	CreatedAt time.Time
}

// Greetings returns all rows, by language.
func (d *Database) Greetings(ctx context.Context) ([]Greeting, error) {
	// The columns are named, never *: during a rollout two versions of the application share one schema.
	rows, err := d.pool.Query(ctx, `SELECT language, words, created_at FROM greetings ORDER BY language LIMIT 1000`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Greeting])
}

// Add stores a greeting. The words of a language that is there already are replaced.
func (d *Database) Add(ctx context.Context, language, words string) error {
	_, err := d.pool.Exec(ctx, `INSERT INTO greetings (language, words) VALUES ($1, $2)
		ON CONFLICT (language) DO UPDATE SET words = excluded.words`, language, words)
	return err
}
