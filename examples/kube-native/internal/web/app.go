// Package web is the page, its two health endpoints and a server that drains. It reads rows through an interface and
// knows neither SQL nor where its settings come from.
package web

import (
	"context"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/perch-k8s/perch/examples/kube-native/internal/database"
)

// Store is what the page needs of the database.
type Store interface {
	Ping(ctx context.Context) error
	Greetings(ctx context.Context) ([]database.Greeting, error)
	Add(ctx context.Context, language, words string) error
}

var _ Store = (*database.Database)(nil)

// Identity is who answers.
type Identity struct {
	Version string
	Pod     string // name
	PodIP   string
}

// App is the application's handlers. Store, Peers and Log must be set.
type App struct {
	Identity Identity
	Store    Store
	Peers    func(ctx context.Context) ([]string, error) // addresses of all pods; none: not asked for
	Log      *slog.Logger

	draining atomic.Bool
	unready  atomic.Bool // what /ready said last, so that only a change is logged
}

const (
	readyTimeout = time.Second     // a readiness probe's own default is 1 s; a slower database is not ready
	pageTimeout  = 3 * time.Second // for the page's queries
	maxLength    = 80              // characters of a language or of its words
)

//go:embed page.html
var pageSource string

// Handler routes the requests.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	page := template.Must(template.New("page").Parse(pageSource))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { a.page(w, r, page) })
	mux.HandleFunc("POST /greetings", a.add)
	mux.HandleFunc("GET /ready", a.ready)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	return a.leaving(a.logged(mux))
}

// ready says whether this pod should get requests: no while it drains, and no while its database does not answer.
// What it says heals by itself, which is why it is no liveness probe.
func (a *App) ready(w http.ResponseWriter, r *http.Request) {
	if a.draining.Load() {
		text(w, http.StatusServiceUnavailable, "draining")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	err := a.Store.Ping(ctx)
	if changed := a.unready.Swap(err != nil) != (err != nil); changed {
		if err != nil {
			a.Log.Warn("not ready", "error", err)
		} else {
			a.Log.Info("ready again")
		}
	}
	if err != nil {
		text(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	text(w, http.StatusOK, "ready")
}

// view is what page.html is given.
type view struct {
	Identity
	Greetings []database.Greeting
	Peers     []string
	Problem   string // why there are no rows
	PeersNote string // why there are no peers
}

func (a *App) page(w http.ResponseWriter, r *http.Request, page *template.Template) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	v, status := view{Identity: a.Identity}, http.StatusOK
	var err error
	if v.Greetings, err = a.Store.Greetings(ctx); err != nil {
		a.Log.Error("greetings", "error", err)
		v.Problem, status = "The database does not answer.", http.StatusServiceUnavailable
	}
	if v.Peers, err = a.Peers(ctx); err != nil {
		a.Log.Warn("peers", "error", err)
		v.PeersNote = "not found"
	}
	var html strings.Builder
	if err := page.Execute(&html, v); err != nil {
		a.Log.Error("page", "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // it says which pod answered
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(html.String()))
}

func (a *App) add(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	language, words := strings.TrimSpace(r.PostFormValue("language")), strings.TrimSpace(r.PostFormValue("words"))
	if !acceptable(language) || !acceptable(words) {
		text(w, http.StatusBadRequest, "language and words must each have 1 to 80 characters")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	if err := a.Store.Add(ctx, language, words); err != nil {
		a.Log.Error("add a greeting", "error", err)
		text(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// acceptable also keeps out what PostgreSQL's text cannot hold.
func acceptable(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxLength && !strings.ContainsRune(s, 0)
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(line + "\n"))
}
