package command_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perch-k8s/perch/examples/kube-native/internal/command"
	"github.com/perch-k8s/perch/examples/kube-native/internal/postgrestest"
)

// buffer may be written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run runs a command and returns its exit code and all it printed.
func run(ctx context.Context, environment map[string]string, args ...string) (code int, output string) {
	var out buffer
	code = command.Run(ctx, command.Process{
		Args: args, Getenv: func(name string) string { return environment[name] }, Stdout: &out, Stderr: &out, Version: "v7",
	})
	return code, out.String()
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "usage: kube-native COMMAND"},
		{"sevre", 2, "usage: kube-native COMMAND"},
		{"serve now", 2, "usage: kube-native COMMAND"},
		{"help", 0, "usage: kube-native COMMAND"},
		{"version", 0, "v7\n"},
		{"ping", 1, "ping: "},
		{"serve", 3, "DATABASE_URL: not set"},
		{"migrate", 3, "DATABASE_URL: not set"},
		{"seed", 3, "DATABASE_URL: not set"},
	} {
		environment := map[string]string{"PING_SOCKET": filepath.Join(t.TempDir(), "s")}
		code, output := run(t.Context(), environment, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(output, c.want) {
			t.Errorf("%q: exit code %d, want %d; output %q, want %q in it", c.args, code, c.code, output, c.want)
		}
	}
}

func TestEachMistakeIsALine(t *testing.T) {
	t.Parallel()
	code, output := run(t.Context(), map[string]string{"PORT": "http", "LOG_LEVEL": "loud"}, "serve")
	if lines := strings.Count(output, "\n"); code != 3 || lines != 3 {
		t.Errorf("exit code %d, %d lines\n%s", code, lines, output)
	}
}

// client talks to a server that the test started.
type client struct {
	t    *testing.T
	base string
}

func (c client) get(path string) (status int, body string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

func (c client) until(path string, status int) {
	c.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		got, body := c.get(path)
		if got == status {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			c.t.Fatalf("%s: %d %s, want %d", path, got, body, status)
		}
	}
}

// TestLife is the life of the application: it starts before its database, gets its schema and its rows, serves, loses the
// database, finds it again, and ends in peace.
func TestLife(t *testing.T) {
	t.Parallel()
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	server := postgrestest.New(t)
	environment := map[string]string{
		"PORT": postgrestest.FreePort(t), "DATABASE_URL": server.URL("app"), "PING_SOCKET": filepath.Join(t.TempDir(), "s"),
		"POD_IP":     "127.0.0.1", // and no POD_NAME
		"PEERS_HOST": "localhost", "DRAIN_DELAY": "10ms",
	}
	c := client{t, "http://127.0.0.1:" + environment["PORT"]}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log buffer
	ended := make(chan int, 1)
	go func() {
		ended <- command.Run(ctx, command.Process{
			Args: []string{"serve"}, Getenv: func(name string) string { return environment[name] }, Stdout: &log, Stderr: &log,
		})
	}()
	c.until("/ready", http.StatusServiceUnavailable)
	if code, output := run(ctx, environment, "ping"); code != 0 || output != "pong\n" {
		t.Errorf("ping without a database: %d %s", code, output)
	}

	server.Start(t)
	server.Create(t, "app")
	for _, name := range []string{"migrate", "migrate", "seed", "seed"} {
		if code, output := run(ctx, environment, name); code != 0 {
			t.Fatalf("%s: %d %s", name, code, output)
		}
	}
	c.until("/ready", http.StatusOK)
	if response, err := http.PostForm(c.base+"/greetings", url.Values{"language": {"Finnish"}, "words": {"Hei"}}); err != nil {
		t.Error(err)
	} else {
		_ = response.Body.Close()
	}
	_, page := c.get("/")
	for _, want := range []string{"Hej, Kubernetes", "<th>Finnish</th><td>Hei</td>", hostname, `<code class="self">127.0.0.1</code>`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}

	server.Stop(t)
	c.until("/ready", http.StatusServiceUnavailable)
	c.until("/", http.StatusServiceUnavailable)
	server.Start(t)
	c.until("/ready", http.StatusOK)

	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code, _ := run(t.Context(), environment, "ping"); code != 1 {
		t.Errorf("ping after the end: %d", code)
	}
	if strings.Contains(log.String(), postgrestest.Password) || !strings.Contains(log.String(), `"msg":"serving"`) {
		t.Errorf("log\n%s", log.String())
	}
}
