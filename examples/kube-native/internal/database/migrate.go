package database

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Migrations are the SQL files of the schema, by version.
func Migrations() fs.FS {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}

// Migrate brings the schema to the newest version, one file and one transaction after another, and logs each. Runners
// wait for each other on an advisory lock of PostgreSQL, which is freed the moment its holder dies. Such a lock belongs
// to a session, so DATABASE_URL must not lead through a pooler that shares sessions between clients.
func (d *Database) Migrate(ctx context.Context, files fs.FS, log *slog.Logger) error {
	db := stdlib.OpenDBFromPool(d.pool)
	defer func() { _ = db.Close() }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // every second, for 5 minutes
	if err != nil {
		return err
	}
	migrations, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	results, err := migrations.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		report(log, partial.Applied)
		return fmt.Errorf("migration %s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
	}
	if err != nil {
		return err
	}
	report(log, results)
	version, err := migrations.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	log.Info("schema is up to date", "version", version, "applied", len(results))
	return nil
}

func report(log *slog.Logger, results []*goose.MigrationResult) {
	for _, r := range results {
		log.Info("migrated", "file", path.Base(r.Source.Path), "version", r.Source.Version,
			"milliseconds", r.Duration.Milliseconds())
	}
}
