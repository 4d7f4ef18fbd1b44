// Package settings reads all that can be set, from the environment alone, and reports every mistake at once. It opens
// nothing and connects to nothing.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Settings are what the environment says. The zero value is not useful: call Load.
type Settings struct {
	Port            int           // PORT: of the web page, 1 to 65535; 4000
	DatabaseURL     URL           // DATABASE_URL: postgres://user:password@host:port/database; required
	PingSocket      string        // PING_SOCKET: absolute path of the liveness socket; /tmp/kube-native.sock
	PeersHost       string        // PEERS_HOST: DNS name with one address for each pod; "" shows no peers
	PodName         string        // POD_NAME: from the downward API; "" is the host name
	PodIP           string        // POD_IP: from the downward API; "" is the machine's own first address
	Version         string        // VERSION: shown on the page; "" is what the build says
	DrainDelay      time.Duration // DRAIN_DELAY: from SIGTERM to the last accepted connection; 2s
	ShutdownTimeout time.Duration // SHUTDOWN_TIMEOUT: for requests under way after that; 15s
	LogLevel        slog.Level    // LOG_LEVEL: debug, info, warn or error; info
}

// URL is a database URL. It prints without its password, so that no log line or error can give it away.
type URL string

// String is the URL with the password masked.
func (u URL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return "(unreadable URL)"
	}
	return parsed.Redacted()
}

// LogValue keeps the password out of structured logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// DefaultPingSocket is where the running process listens for "kube-native ping" when PING_SOCKET is not set.
const DefaultPingSocket = "/tmp/kube-native.sock"

// Load reads the settings. Its error joins one error for each mistake, each naming its variable, in the order of the
// fields of Settings.
func Load(getenv func(string) string) (Settings, error) {
	r := reader{getenv: getenv}
	s := Settings{
		Port:            r.port("PORT", 4000),
		DatabaseURL:     r.databaseURL("DATABASE_URL"),
		PingSocket:      r.path("PING_SOCKET", DefaultPingSocket),
		PeersHost:       getenv("PEERS_HOST"),
		PodName:         getenv("POD_NAME"),
		PodIP:           getenv("POD_IP"),
		Version:         getenv("VERSION"),
		DrainDelay:      r.duration("DRAIN_DELAY", 2*time.Second),
		ShutdownTimeout: r.duration("SHUTDOWN_TIMEOUT", 15*time.Second),
		LogLevel:        r.level("LOG_LEVEL", slog.LevelInfo),
	}
	return s, errors.Join(r.mistakes...)
}

// reader collects mistakes instead of stopping at the first one.
type reader struct {
	getenv   func(string) string
	mistakes []error
}

func (r *reader) mistake(name, format string, args ...any) {
	r.mistakes = append(r.mistakes, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

func (r *reader) port(name string, fallback int) int {
	text := r.getenv(name)
	if text == "" {
		return fallback
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		r.mistake(name, "%q is not a port from 1 to 65535", text)
	}
	return port
}

// databaseURL never repeats the value: it has a password in it.
func (r *reader) databaseURL(name string) URL {
	text := r.getenv(name)
	if text == "" {
		r.mistake(name, "not set; want postgres://user:password@host:port/database")
		return ""
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		r.mistake(name, "not a URL; escape special characters of the password, as %%40 for @")
	case parsed.Scheme != "postgres" && parsed.Scheme != "postgresql":
		r.mistake(name, "starts with %q; want postgres://", parsed.Scheme+":")
	case parsed.Host == "" && parsed.Query().Get("host") == "":
		r.mistake(name, "names no host")
	case strings.Trim(parsed.Path, "/") == "":
		r.mistake(name, "names no database; add it after the host, as in postgres://host:5432/database")
	}
	return URL(text)
}

func (r *reader) path(name, fallback string) string {
	text := r.getenv(name)
	if text == "" {
		return fallback
	}
	if !filepath.IsAbs(text) {
		r.mistake(name, "%q is not an absolute path", text)
	}
	return text
}

func (r *reader) duration(name string, fallback time.Duration) time.Duration {
	text := r.getenv(name)
	if text == "" {
		return fallback
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		r.mistake(name, "%q is not a duration such as 500ms or 15s", text)
	}
	return d
}

func (r *reader) level(name string, fallback slog.Level) slog.Level {
	text := r.getenv(name)
	if text == "" {
		return fallback
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		r.mistake(name, "%q is not debug, info, warn or error", text)
	}
	return level
}
