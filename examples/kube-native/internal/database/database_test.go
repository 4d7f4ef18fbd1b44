package database_test

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
	"github.com/perch-k8s/perch/examples/kube-native/internal/postgrestest"
)

// TestDatabase shares one server: starting it takes longer than all the rest. Each case has a database of its own.
func TestDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	server.Start(t)
	for name, test := range map[string]func(*testing.T, *database.Database){
		"migrate":            migrate,
		"migrate-at-once":    migrateAtOnce,
		"migrate-that-fails": migrateThatFails,
		"previous-version":   previousVersion,
		"seed":               seed,
		"add":                add,
	} {
		t.Run(name, func(t *testing.T) { // not parallel: the server must outlive them
			test(t, open(t, server.Create(t, name)))
		})
	}
	t.Run("wait", func(t *testing.T) { wait(t, server) })
}

func open(t *testing.T, url string) *database.Database {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// up migrates and returns what was logged.
func up(ctx context.Context, db *database.Database, files fs.FS) (string, error) {
	var log bytes.Buffer
	err := db.Migrate(ctx, files, slog.New(slog.NewTextHandler(&log, nil)))
	return log.String(), err
}

func mustUp(t *testing.T, db *database.Database) {
	t.Helper()
	if log, err := up(t.Context(), db, database.Migrations()); err != nil {
		t.Fatal(err, log)
	}
}

func migrate(t *testing.T, db *database.Database) {
	log, err := up(t.Context(), db, database.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"file=00001_create_greetings.sql", "file=00002_add_created_at.sql", "version=2 applied=2"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	log, err = up(t.Context(), db, database.Migrations())
	if err != nil || !strings.Contains(log, "version=2 applied=0") {
		t.Errorf("again: error %v, log\n%s", err, log)
	}
	if rows, err := db.Greetings(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("got %v, %v", rows, err)
	}
}

// Runners wait for each other, and each migration runs once.
func migrateAtOnce(t *testing.T, db *database.Database) {
	var group sync.WaitGroup
	logs := make([]string, 2)
	for i := range logs {
		group.Go(func() {
			var err error
			if logs[i], err = up(t.Context(), db, database.Migrations()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := strings.Count(strings.Join(logs, ""), "msg=migrated"); n != 2 {
		t.Errorf("%d migrations ran, want 2\n%s", n, strings.Join(logs, "--\n"))
	}
}

// A migration that fails is named with PostgreSQL's own words, leaves nothing half done, and can be mended and run again.
func migrateThatFails(t *testing.T, db *database.Database) {
	files := fstest.MapFS{
		"00001_good.sql": {Data: []byte("-- +goose Up\nCREATE TABLE one (id int);\n")},
		"00002_bad.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE two (id int);\nALTER TABLE three ADD COLUMN x int;\n")},
	}
	log, err := up(t.Context(), db, files)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"migration 00002_bad.sql: ", `relation "three" does not exist`, "42P01"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	if !strings.Contains(log, "file=00001_good.sql") || strings.Contains(log, "00002") {
		t.Errorf("log\n%s", log)
	}
	files["00002_bad.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE two (id int);\n")}
	if log, err := up(t.Context(), db, files); err != nil || !strings.Contains(log, "version=2 applied=1") {
		t.Errorf("mended: error %v, log\n%s", err, log)
	}
}

// The version before the newest migration still works on the newest schema: both serve during a rollout.
func previousVersion(t *testing.T, db *database.Database) {
	mustUp(t, db)
	if err := db.Add(t.Context(), "Finnish", "Hei"); err != nil { // names none of the columns that came later
		t.Error(err)
	}
	rows, err := db.Greetings(t.Context())
	if err != nil || len(rows) != 1 || time.Since(rows[0].CreatedAt) > time.Hour {
		t.Errorf("got %v, %v", rows, err)
	}
}

func seed(t *testing.T, db *database.Database) {
	mustUp(t, db)
	if err := db.Add(t.Context(), "English", "Good morning"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{7, 0} {
		if added, err := db.Seed(t.Context()); err != nil || added != want {
			t.Errorf("added %d, want %d; error %v", added, want, err)
		}
	}
	rows, err := db.Greetings(t.Context())
	if err != nil || len(rows) != 8 {
		t.Fatalf("got %v, %v", rows, err)
	}
	if got := rows[1]; got.Language != "English" || got.Words != "Good morning" {
		t.Errorf("the seed changed a row that was there: %+v", got)
	}
}

func add(t *testing.T, db *database.Database) {
	mustUp(t, db)
	for _, words := range []string{"Hei", "Moi"} {
		if err := db.Add(t.Context(), "Finnish", words); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.Greetings(t.Context())
	if err != nil || len(rows) != 1 || rows[0].Words != "Moi" {
		t.Errorf("got %v, %v", rows, err)
	}
}

// Waiting mends a server that is not up, but no wrong name.
func wait(t *testing.T, server *postgrestest.Server) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	wrong := open(t, server.URL("no-such-database"))
	if err := wrong.Wait(ctx); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("unknown database: got error %v", err)
	}
	db := open(t, server.URL("postgres"))
	server.Stop(t)
	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := db.Wait(brief); err == nil || !strings.HasPrefix(err.Error(), "database does not answer: ") {
		t.Errorf("server down: got error %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- db.Wait(ctx) }()
	server.Start(t)
	if err := <-waited; err != nil {
		t.Errorf("server back: %v", err)
	}
}

func TestOpenDoesNotRepeatTheURL(t *testing.T) {
	t.Parallel()
	_, err := database.Open(t.Context(), "postgres://u:correct-horse@db/app?sslmode=perhaps")
	if err == nil || strings.Contains(err.Error(), "correct-horse") {
		t.Errorf("got error %v", err)
	}
}
