package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// deploy is one deploy as `perch history -o json` tells it.
type deploy struct {
	Deploy       int
	By, Commit   string
	RollbackTo   int `json:"rollback_to"`
	Schema       string
	SchemaBefore string `json:"schema_before"`
	Status       string
	Services     []struct {
		Service, Version, Status, Cause string
		Revision                        int
	}
}

func (d deploy) String() string {
	text := fmt.Sprintf("%d %s %q→%q", d.Deploy, d.Status, d.SchemaBefore, d.Schema)
	if d.RollbackTo > 0 {
		text += fmt.Sprintf(" back to %d", d.RollbackTo)
	}
	for _, s := range d.Services {
		text += fmt.Sprintf(" %s.v%d", s.Service, s.Revision)
	}
	return text
}

func (a *app) history(t *testing.T) []deploy {
	t.Helper()
	var all []deploy
	r := a.perchApp(t, "history", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return all
}

func (a *app) wantHistory(t *testing.T, want ...string) []deploy {
	t.Helper()
	all := a.history(t)
	var got []string
	for _, d := range all {
		got = append(got, d.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the history: -want +got:\n%s", diff)
	}
	return all
}

// TestHistory deploys the reference application twice, the second time over two migrations, and goes back.
func TestHistory(t *testing.T) {
	u := newUser(t, "h")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	spy := startSpy(t, password)
	n.load(t, "postgres:15", "golang:1.26")
	a := newApp(t, n)
	const first, second = "A web page, a database, and the pods in between.", "Now with notes."
	a.perchApp(t, "up", "-d")
	t.Run("the first deploy", func(t *testing.T) {
		all := a.wantHistory(t, `1 deployed ""→"goose 2" postgres.v1 web.v1`)
		if d := all[0]; !strings.HasPrefix(a.commit, d.Commit) || d.Commit == "" || !strings.Contains(d.By, "@") {
			t.Errorf("it is of commit %q, by %q; the commit is %s", d.Commit, d.By, a.commit)
		}
		r := a.want(t, 2, command{dir: a.dir, env: a.env(), args: []string{"rollback"}})
		wantText(t, r.stderr, "error: there is no deploy to go back to", "hint: ")
	})
	a.replace(t, "internal/web/page.html", first, second)
	a.write(t, "internal/database/migrations/00003_note.sql", "-- +goose Up\nALTER TABLE greetings ADD COLUMN note text;\n")
	a.write(t, "internal/database/migrations/00004_mood.sql", "-- +goose Up\nALTER TABLE greetings ADD COLUMN mood text;\n")
	a.perchApp(t, "up", "-d")
	a.perchApp(t, "up", "-d")
	t.Run("the second, and an up that changed nothing", func(t *testing.T) {
		all := a.wantHistory(t, `1 deployed ""→"goose 2" postgres.v1 web.v1`, `2 deployed "goose 2"→"goose 4" web.v2`)
		if got := all[len(all)-1].Commit; got != all[0].Commit+"-dirty" {
			t.Errorf("it is of commit %q", got)
		}
		wantText(t, a.perchApp(t, "history").stdout, "DEPLOY", "goose 4", all[1].Services[0].Version)
	})
	t.Run("psql", func(t *testing.T) { testPsql(t, a) })
	t.Run("a rollback over two migrations asks", func(t *testing.T) {
		pods := a.node.podNames(t, a.namespace, "web")
		r := a.want(t, 2, command{dir: a.dir, env: a.env(), args: []string{"rollback"}})
		wantText(t, r.stderr, "the database is ahead: goose 4, deploy 1 had 2", "  3\n", "  4\n", "hint: add --yes")
		dry := a.perchApp(t, "rollback", "--dry-run").stdout
		wantText(t, dry, "rollback   web", "unchanged  postgres", "goose 4")
		if diff := cmp.Diff(pods, a.node.podNames(t, a.namespace, "web")); diff != "" {
			t.Errorf("pods changed: -before +after:\n%s", diff)
		}
	})
	t.Run("with a yes it goes", func(t *testing.T) {
		jobs, postgres := a.node.jobNames(t, a.namespace), a.node.podNames(t, a.namespace, "postgres")
		s := startStream(t, a.url())
		r := a.perchApp(t, "rollback", "--yes")
		if got := readPage(mustFetch(t, a.url())).tagline; got != first {
			t.Errorf("after %s the page says %q", r.took, got)
		}
		s.noneFailed(t)
		wantText(t, r.stderr, "rolled back to deploy 1", "deploy 3", "web 3", "next: perch ")
		if diff := cmp.Diff(jobs, a.node.jobNames(t, a.namespace)); diff != "" {
			t.Errorf("a migration ran: -before +after:\n%s", diff)
		}
		if diff := cmp.Diff(postgres, a.node.podNames(t, a.namespace, "postgres")); diff != "" {
			t.Errorf("the database was rolled: -before +after:\n%s", diff)
		}
		all := a.wantHistory(t, `1 deployed ""→"goose 2" postgres.v1 web.v1`, `2 superseded "goose 2"→"goose 4" web.v2`,
			`3 deployed ""→"goose 4" back to 1 web.v3`)
		if d := all[2]; d.Commit != all[0].Commit {
			t.Errorf("what was brought back is of commit %q", d.Commit)
		}
	})
	t.Run("helm history agrees", func(t *testing.T) { testHelmHistory(t, a) })
	t.Run("again changes nothing, and forth does not ask", func(t *testing.T) {
		wantText(t, a.perchApp(t, "rollback", "3").stderr, "nothing changed")
		a.perchApp(t, "rollback")
		if got := readPage(mustFetch(t, a.url())).tagline; got != second {
			t.Errorf("the page says %q", got)
		}
		wantText(t, a.up(t, a.env()...).stderr, "nothing changed")
	})
	t.Run("helm rollback is seen", func(t *testing.T) {
		a.perchApp(t, "helm", "rollback", "-n", a.namespace, "kube-native-web", "1", "--wait=watcher")
		all := a.history(t)
		if d := all[len(all)-1]; d.Deploy != 0 || d.Status != "deployed" || d.Services[0].Revision != 5 || d.Services[0].Cause != "Rollback to 1" {
			t.Errorf("the history ends with %+v", d)
		}
		a.perchApp(t, "rollback", "4")
		if got := readPage(mustFetch(t, a.url())).tagline; got != second {
			t.Errorf("the page says %q", got)
		}
	})
	t.Run("the password was in no argument", func(t *testing.T) {
		spy.mu.Lock()
		defer spy.mu.Unlock()
		for line := range spy.found {
			t.Errorf("it was seen in %s", line)
		}
		if spy.looks == 0 {
			t.Error("nobody looked")
		}
	})
}

func testHelmHistory(t *testing.T, a *app) {
	var helm []struct {
		Revision            int
		Status, Description string
	}
	r := a.perchApp(t, "helm", "history", "-n", a.namespace, "kube-native-web", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &helm); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	var theirs, ours []string
	for _, h := range helm {
		theirs = append(theirs, fmt.Sprintf("%d %s %s", h.Revision, h.Status, h.Description))
	}
	for _, d := range a.history(t) {
		for _, s := range d.Services {
			if s.Service == "web" {
				ours = append(ours, fmt.Sprintf("%d %s %s", s.Revision, s.Status, s.Cause))
			}
		}
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("-helm +perch:\n%s", diff)
	}
	if !slices.Contains(theirs, "3 deployed rollback to 1") {
		t.Errorf("helm says %v", theirs)
	}
}

func testPsql(t *testing.T, a *app) {
	if got := a.perchApp(t, "psql", "--", "-tA", "-c", "select current_user || ' ' || current_database()").stdout; got != "kube-native kube-native\n" {
		t.Errorf("it is %q", got)
	}
	wantText(t, a.perchApp(t, "psql", "-c", "select 1").stdout, "(1 row)")
	if got := a.perchApp(t, "psql", "web", "--", "-tA", "postgres", "-c", "select current_database()").stdout; got != "postgres\n" {
		t.Errorf("another database, by the service that uses it: %q", got)
	}
	in := command{dir: a.dir, env: a.env(), args: []string{"psql", "postgres", "--", "-tA"}, stdin: strings.NewReader("select 6*7;\n")}
	if got := a.want(t, 0, in).stdout; got != "42\n" {
		t.Errorf("what came on standard input gave %q", got)
	}
	a.want(t, 1, command{dir: a.dir, env: a.env(), args: []string{"psql", "-c", "select nonsense"}})
	a.want(t, 3, command{dir: a.dir, env: a.env(), args: []string{"psql", "--", "-v", "ON_ERROR_STOP=1", "-f", "-"}, stdin: strings.NewReader("select nonsense;\n")})
}
