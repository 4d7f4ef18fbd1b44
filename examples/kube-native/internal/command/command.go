// Package command turns arguments and environment into one call, and an error into a log line and an exit code. Nothing
// else in the application prints or knows of the process it runs in.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
	"github.com/perch-k8s/perch/examples/kube-native/internal/ping"
	"github.com/perch-k8s/perch/examples/kube-native/internal/settings"
)

// Process is what the operating system gives a command.
type Process struct {
	Args           []string // without the program's name
	Getenv         func(string) string
	Stdout, Stderr io.Writer // logs go to Stdout, as containers do it; Stderr has what is for a person who typed
	Version        string    // from the linker, or ""
}

const usage = `usage: kube-native COMMAND

  serve     answer on PORT (4000) until SIGTERM
  migrate   bring the schema of the database up to date
  seed      add the first rows; run again, it changes nothing
  ping      ask the running process whether it is alive
  version   print the version

Settings come from the environment: DATABASE_URL (required), PORT, PING_SOCKET, PEERS_HOST, POD_NAME, POD_IP, VERSION,
DRAIN_DELAY, SHUTDOWN_TIMEOUT, LOG_LEVEL.

exit codes: 0 ok, 1 failed, 2 wrong usage, 3 wrong settings
`

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitSettings = 3
)

// waitForDatabase is how long migrate and seed wait for a database that is not up yet.
const waitForDatabase = 30 * time.Second

// Run runs one command and returns its exit code.
func Run(ctx context.Context, p Process) int {
	name := strings.Join(p.Args, " ")
	switch name {
	case "serve":
		return p.withSettings(ctx, name, serve)
	case "migrate":
		return p.withSettings(ctx, name, migrate)
	case "seed":
		return p.withSettings(ctx, name, seed)
	case "ping":
		return p.ping(ctx)
	case "version":
		_, _ = fmt.Fprintln(p.Stdout, buildVersion(p.Version))
		return exitOK
	case "help", "-h", "--help":
		_, _ = io.WriteString(p.Stdout, usage)
		return exitOK
	default:
		_, _ = io.WriteString(p.Stderr, usage)
		return exitUsage
	}
}

// ping needs no other settings: a mistake in one of them must not let a probe kill the process.
func (p Process) ping(ctx context.Context) int {
	path := p.Getenv("PING_SOCKET")
	if path == "" {
		path = settings.DefaultPingSocket
	}
	if err := ping.Ask(ctx, path); err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "ping: %v\n", err)
		return exitFailed
	}
	_, _ = fmt.Fprintln(p.Stdout, "pong")
	return exitOK
}

// task is what a command does with good settings.
type task func(ctx context.Context, s settings.Settings, log *slog.Logger) error

func (p Process) withSettings(ctx context.Context, name string, run task) int {
	s, err := settings.Load(p.Getenv)
	log := slog.New(slog.NewJSONHandler(p.Stdout, &slog.HandlerOptions{Level: s.LogLevel})).With("command", name)
	if err != nil {
		for _, mistake := range unjoin(err) {
			log.Error("wrong setting", "error", mistake)
		}
		return exitSettings
	}
	if s.Version == "" {
		s.Version = buildVersion(p.Version)
	}
	if err := run(ctx, s, log); err != nil {
		log.Error(name+" failed", "error", err)
		return exitFailed
	}
	return exitOK
}

func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

func migrate(ctx context.Context, s settings.Settings, log *slog.Logger) error {
	db, err := openAndWait(ctx, s)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Migrate(ctx, database.Migrations(), log)
}

func seed(ctx context.Context, s settings.Settings, log *slog.Logger) error {
	db, err := openAndWait(ctx, s)
	if err != nil {
		return err
	}
	defer db.Close()
	added, err := db.Seed(ctx)
	if err != nil {
		return err
	}
	log.Info("seeded", "added", added)
	return nil
}

func openAndWait(ctx context.Context, s settings.Settings) (*database.Database, error) {
	db, err := database.Open(ctx, string(s.DatabaseURL))
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, waitForDatabase)
	defer cancel()
	if err := db.Wait(waiting); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}
