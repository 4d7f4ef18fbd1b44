package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/schema"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

func TestSchemaIsTold(t *testing.T) {
	t.Parallel()
	gap := func(service string, g schema.Gap) up.SchemaGap { return up.SchemaGap{Service: service, Gap: g} }
	ahead := schema.Gap{Tool: schema.Flyway, Recorded: "1", Present: "3", Relation: schema.Ahead,
		Migrations: []schema.Migration{{Version: "2", Name: "notes"}, {Version: "3"}}}
	for name, c := range map[string]struct {
		gaps     []up.SchemaGap
		unknown  []string
		lines    string
		question string
	}{
		"ahead by two": {[]up.SchemaGap{gap("web", ahead)}, nil,
			"service web: the database is ahead: flyway 3, deploy 4 had 1\n  2 notes\n  3", "the database of web has 2 migrations more"},
		"ahead by a number": {[]up.SchemaGap{gap("web", schema.Gap{Tool: schema.GolangMigrate, Recorded: "1", Present: "3", Relation: schema.Ahead})}, nil,
			"service web: the database is ahead: golang-migrate 3, deploy 4 had 1", "the database of web is ahead"},
		"behind": {[]up.SchemaGap{gap("web", schema.Gap{Tool: schema.Rails, Recorded: "3", Relation: schema.Behind})}, nil,
			"service web: the database is behind: rails none, deploy 4 had 3", "the database of web is behind"},
		"another": {[]up.SchemaGap{gap("web", schema.Gap{Tool: schema.Alembic, Recorded: "a", Present: "b", Relation: schema.Other})}, nil,
			"service web: the database is another one: alembic b, deploy 4 had a", "the database of web differs"},
		"two, and one that is not known": {[]up.SchemaGap{gap("api", schema.Gap{Tool: schema.Goose, Present: "1", Relation: schema.Ahead,
			Migrations: []schema.Migration{{Version: "1"}}}), gap("web", ahead)}, []string{"job"},
			"service api: the database is ahead: goose 1, deploy 4 had none\n  1\n" +
				"service web: the database is ahead: flyway 3, deploy 4 had 1\n  2 notes\n  3\n" +
				"service job: other migrations ran since deploy 4; what they changed in the database is not known",
			"the database of api has 1 migration more and the database of web has 2 migrations more"},
	} {
		plan := up.RollbackPlan{Rollback: release.Rollback{To: 4}, Gaps: c.gaps, Unknown: c.unknown}
		if diff := cmp.Diff(c.lines, strings.Join(schemaLines(plan), "\n")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if diff := cmp.Diff("roll back to deploy 4, though "+c.question, schemaQuestion(plan)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestHistoryTable(t *testing.T) {
	t.Parallel()
	now := time.Unix(100000, 0)
	a := &app{env: Env{Now: func() time.Time { return now }}}
	r := a.historyTable([]release.Deploy{
		{Number: 1, Time: now.Add(-time.Hour), By: "ann@one", Commit: "c1", Schema: "goose 1", Status: release.DeployReplaced, Services: []release.Change{
			{Service: "db", Version: "15", Revision: 1}, {Service: "web", Version: "c1", Revision: 1}}},
		{Number: 2, Time: now.Add(-time.Minute), By: "bob@two", Status: release.DeployFailed, Services: []release.Change{{Service: "web", Version: "c2", Revision: 2}}},
		{Time: now.Add(-time.Minute), Status: release.DeployReplaced, Services: []release.Change{{Service: "web", Version: "c1", Revision: 3, Cause: "Rollback to 1"}}},
		{Number: 3, Time: now, By: "ann@one", Commit: "c1", Schema: "goose 2", Status: release.DeployCurrent, RollbackTo: 1,
			Services: []release.Change{{Service: "web", Version: "c1", Revision: 4}}},
	})
	var got bytes.Buffer
	if err := r.Write(&got, ui.FormatTable); err != nil {
		t.Fatal(err)
	}
	want := `DEPLOY   AGE   BY        COMMIT   CHANGED                 SCHEMA    STATUS
1        60m   ann@one   c1       db 15 (1), web c1 (1)   goose 1   superseded
2        60s   bob@two   -        web c2 (2)              -         failed
-        60s   -         -        web c1 (3)              -         superseded: not by perch: Rollback to 1
3        0s    ann@one   c1       web c1 (4)              goose 2   deployed: rollback to 1
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, r.Names); diff != "" {
		t.Errorf("names: -want +got:\n%s", diff)
	}
}
