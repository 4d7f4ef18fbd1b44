package settings_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/settings"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

const goodURL = "postgres://user:correct-horse@db:5432/app"

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := settings.Load(environment("DATABASE_URL", goodURL))
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Settings{
		Port: 4000, DatabaseURL: goodURL, PingSocket: "/tmp/kube-native.sock",
		DrainDelay: 2 * time.Second, ShutdownTimeout: 15 * time.Second, LogLevel: slog.LevelInfo,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEverythingSet(t *testing.T) {
	t.Parallel()
	got, err := settings.Load(environment(
		"PORT", "80", "DATABASE_URL", goodURL, "PING_SOCKET", "/run/ping", "PEERS_HOST", "web-pods", "POD_NAME", "web-1",
		"POD_IP", "10.0.0.1", "VERSION", "v2", "DRAIN_DELAY", "0s", "SHUTDOWN_TIMEOUT", "1m", "LOG_LEVEL", "debug",
	))
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Settings{
		Port: 80, DatabaseURL: goodURL, PingSocket: "/run/ping", PeersHost: "web-pods", PodName: "web-1", PodIP: "10.0.0.1",
		Version: "v2", ShutdownTimeout: time.Minute, LogLevel: slog.LevelDebug,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := settings.Load(environment("PORT", "99999", "DATABASE_URL", "mysql://user:correct-horse@db/app", "PING_SOCKET", "ping",
		"DRAIN_DELAY", "5", "SHUTDOWN_TIMEOUT", "-1s", "LOG_LEVEL", "loud"))
	if err == nil {
		t.Fatal("no error")
	}
	want := strings.Join([]string{
		`PORT: "99999" is not a port from 1 to 65535`,
		`DATABASE_URL: starts with "mysql:"; want postgres://`,
		`PING_SOCKET: "ping" is not an absolute path`,
		`DRAIN_DELAY: "5" is not a duration such as 500ms or 15s`,
		`SHUTDOWN_TIMEOUT: "-1s" is not a duration such as 500ms or 15s`,
		`LOG_LEVEL: "loud" is not debug, info, warn or error`,
	}, "\n")
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                  "not set; want postgres://user:password@host:port/database",
		"postgres://u:correct-horse%@db/a":  "not a URL; escape special characters of the password, as %40 for @",
		"db:5432/app":                       `starts with "db:"; want postgres://`,
		"postgres:///app":                   "names no host",
		"postgres://u:correct-horse@db":     "names no database; add it after the host, as in postgres://host:5432/database",
		"postgresql://u:correct-horse@db/a": "",
		"postgres:///app?host=/run":         "",
	} {
		_, err := settings.Load(environment("DATABASE_URL", url))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if want != "" {
			want = "DATABASE_URL: " + want
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", url, got, want)
		}
		if strings.Contains(got, "correct-horse") {
			t.Errorf("%q: the error has the password", url)
		}
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	s, err := settings.Load(environment("DATABASE_URL", goodURL))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("all", "url", s.DatabaseURL, "settings", s.DatabaseURL.String())
	if strings.Contains(log.String(), "correct-horse") || !strings.Contains(log.String(), "postgres://user:xxxxx@db:5432/app") {
		t.Errorf("log: %s", log.String())
	}
}
