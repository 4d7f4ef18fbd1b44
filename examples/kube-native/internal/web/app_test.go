package web_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
	"github.com/perch-k8s/perch/examples/kube-native/internal/web"
)

// store keeps greetings in memory. With down set it answers nothing else.
type store struct {
	mu   sync.Mutex
	rows []database.Greeting
	down error
}

func (s *store) Ping(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("no deadline")
	}
	return s.down
}

func (s *store) Greetings(context.Context) ([]database.Greeting, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows, s.down
}

func (s *store) Add(_ context.Context, language, words string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	s.rows = append(s.rows, database.Greeting{Language: language, Words: words})
	return nil
}

func (s *store) set(down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// newApp is an app with two pods, of which it is the second. Its log is returned.
func newApp(s web.Store) (*web.App, *bytes.Buffer) {
	var log bytes.Buffer
	return &web.App{
		Identity: web.Identity{Version: "v7", Pod: "web-2", PodIP: "10.0.0.2"},
		Store:    s,
		Peers:    func(context.Context) ([]string, error) { return []string{"10.0.0.1", "10.0.0.2"}, nil },
		Log:      slog.New(slog.NewJSONHandler(&log, nil)),
	}, &log
}

func get(t *testing.T, app *web.App, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	app.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the page has no line %s\n%s", line, page)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	app, _ := newApp(&store{rows: []database.Greeting{{Language: "Danish", Words: "Hej"}, {Language: "<b>", Words: "&"}}})
	w := get(t, app, "/")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	wantLines(t, w.Body.String(),
		`<tr><th>Version</th><td><code id="version">v7</code></td></tr>`,
		`<tr><th>Pod</th><td><code id="pod">web-2</code></td></tr>`,
		`<tr><th>Address</th><td><code id="address">10.0.0.2</code></td></tr>`,
		`<tr><th>Sisters</th><td id="peers"><code>10.0.0.1</code> <code class="self">10.0.0.2</code> </td></tr>`,
		`<tr><th>Danish</th><td>Hej</td></tr>`,
		`<tr><th>&lt;b&gt;</th><td>&amp;</td></tr>`,
	)
}

func TestPageWithoutRows(t *testing.T) {
	t.Parallel()
	app, _ := newApp(&store{})
	if body := get(t, app, "/").Body.String(); !strings.Contains(body, "None yet.") {
		t.Error(body)
	}
}

func TestPageWhenAllIsDown(t *testing.T) {
	t.Parallel()
	app, log := newApp(&store{down: errors.New("no route to db")})
	app.Peers = func(context.Context) ([]string, error) { return nil, errors.New("no dns") }
	w := get(t, app, "/")
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
	body := w.Body.String()
	wantLines(t, body,
		`<tr><th>Pod</th><td><code id="pod">web-2</code></td></tr>`,
		`<tr><th>Sisters</th><td id="peers"><span class="quiet">not found</span></td></tr>`,
		`<p id="problem">The database does not answer.</p>`,
	)
	if strings.Contains(body, "no route to db") || !strings.Contains(log.String(), "no route to db") {
		t.Errorf("the cause belongs to the log alone\n%s\n%s", body, log)
	}
}

func TestOtherPaths(t *testing.T) {
	t.Parallel()
	app, _ := newApp(&store{})
	if code := get(t, app, "/other").Code; code != http.StatusNotFound {
		t.Errorf("/other: %d", code)
	}
	if w := get(t, app, "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("/healthz: %d %s", w.Code, w.Body)
	}
}

func TestReadyFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	s := &store{}
	app, log := newApp(s)
	for _, step := range []struct {
		down error
		code int
		body string
		logs string // lines so far that are about readiness
	}{
		{nil, http.StatusOK, "ready\n", ""},
		{errors.New("gone"), http.StatusServiceUnavailable, "the database does not answer\n", "not ready"},
		{errors.New("gone"), http.StatusServiceUnavailable, "the database does not answer\n", "not ready"},
		{nil, http.StatusOK, "ready\n", "not ready,ready again"},
	} {
		s.set(step.down)
		w := get(t, app, "/ready")
		if w.Code != step.code || w.Body.String() != step.body {
			t.Errorf("down %v: %d %s", step.down, w.Code, w.Body)
		}
		if got := messages(log.String()); got != step.logs {
			t.Errorf("down %v: log %q, want %q", step.down, got, step.logs)
		}
	}
}

// messages are those of a JSON log, joined with commas.
func messages(log string) string {
	var all []string
	for line := range strings.Lines(log) {
		_, rest, _ := strings.Cut(line, `"msg":"`)
		message, _, _ := strings.Cut(rest, `"`)
		all = append(all, message)
	}
	return strings.Join(all, ",")
}

func TestAdd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		language, words string
		down            error
		code, rows      int
	}{
		{name: "good", language: " Finnish ", words: "Hei", code: http.StatusSeeOther, rows: 1},
		{name: "no language", words: "Hei", code: http.StatusBadRequest},
		{name: "blank words", language: "Finnish", words: "  ", code: http.StatusBadRequest},
		{name: "just fits", language: strings.Repeat("ä", 80), words: "Hei", code: http.StatusSeeOther, rows: 1},
		{name: "too long", language: strings.Repeat("ä", 81), words: "Hei", code: http.StatusBadRequest},
		{name: "zero byte", language: "a\x00b", words: "Hei", code: http.StatusBadRequest},
		{name: "no utf-8", language: "\xff", words: "Hei", code: http.StatusBadRequest},
		{name: "huge", language: "Finnish", words: strings.Repeat("x", 5000), code: http.StatusBadRequest},
		{name: "down", language: "Finnish", words: "Hei", down: errors.New("gone"), code: http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &store{down: c.down}
			app, _ := newApp(s)
			form := url.Values{"language": {c.language}, "words": {c.words}}.Encode()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/greetings", strings.NewReader(form))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			app.Handler().ServeHTTP(w, request)
			if w.Code != c.code || len(s.rows) != c.rows {
				t.Errorf("status %d, want %d; %d rows, want %d; %s", w.Code, c.code, len(s.rows), c.rows, w.Body)
			}
			if c.rows == 1 && s.rows[0].Language != strings.TrimSpace(c.language) {
				t.Errorf("stored %q", s.rows[0].Language)
			}
		})
	}
}
