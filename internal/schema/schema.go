// Package schema tells which version a database's schema has, by the table in which a migration tool writes down what it
// did: goose, golang-migrate, Ecto, Rails, Alembic, Django, Flyway and Prisma on PostgreSQL. It finds the database in a
// Compose project, reads it, and compares two versions. It changes nothing in a database, reads nothing of the process's
// environment, and knows neither the cluster nor releases: how a server is reached is given to it.
package schema

import (
	"slices"
	"strconv"
	"strings"
)

// State is the versions that a database has, one for each tool that keeps a table there, sorted by tool. Most have one.
type State []Version

// Version is what one tool says of a database.
type Version struct {
	Tool    string
	Current string      // the newest migration that was applied; "0" when none was
	Dirty   bool        // a migration failed half way
	Applied []Migration // all of them, in the order in which the tool applies them; nil: the tool keeps only Current
}

// Migration is one migration that was applied.
type Migration struct {
	Version string `json:"version"`
	Name    string `json:"name,omitempty"` // "" when the table has none
}

func (m Migration) String() string {
	if m.Name == "" || m.Name == m.Version {
		return m.Version
	}
	return m.Version + " " + m.Name
}

// dirty is the word after a version whose migration failed half way.
const dirty = "dirty"

// String is the state as it is recorded and compared: "goose 2", "alembic 1f2e, golang-migrate 3 dirty". It is "" when there
// is no table that is known.
func (s State) String() string {
	each := make([]string, len(s))
	for i, v := range s {
		each[i] = v.Tool + " " + v.Current
		if v.Dirty {
			each[i] += " " + dirty
		}
	}
	return strings.Join(each, ", ")
}

// Relation is where a database is, seen from a version that was recorded.
type Relation string

// The relations.
const (
	Ahead  Relation = "ahead"  // it has migrations that were not there then
	Behind Relation = "behind" // it lacks migrations that were there then
	Other  Relation = "other"  // it is another one, and the tool does not tell which came first
)

// Gap is a difference between a recorded version and the present one of the same tool.
type Gap struct {
	Tool       string      `json:"tool"`
	Recorded   string      `json:"recorded"` // "" when the tool had no table then
	Present    string      `json:"present"`  // "" when it has none now
	Relation   Relation    `json:"relation"`
	Migrations []Migration `json:"migrations,omitempty"` // between them, in order; nil when the table does not tell
}

// Compare says how a database differs from the version that was recorded, as State.String writes it. Nothing is known of ""
// and so nothing differs from it. It is pure.
func Compare(recorded string, present State) []Gap {
	if recorded == "" {
		return nil
	}
	then := parse(recorded)
	var gaps []Gap
	for _, now := range present {
		was, had := then[now.Tool]
		delete(then, now.Tool)
		switch {
		case !had:
			gaps = append(gaps, Gap{Tool: now.Tool, Present: now.Current, Relation: Ahead, Migrations: now.Applied})
		case was != now.Current:
			gaps = append(gaps, gap(was, now))
		}
	}
	for tool, was := range then {
		gaps = append(gaps, Gap{Tool: tool, Recorded: was, Relation: Behind})
	}
	slices.SortFunc(gaps, func(a, b Gap) int { return strings.Compare(a.Tool, b.Tool) })
	return gaps
}

// gap is the difference of a version that is another one than was.
func gap(was string, now Version) Gap {
	g := Gap{Tool: now.Tool, Recorded: was, Present: now.Current}
	if now.Applied != nil {
		at := slices.IndexFunc(now.Applied, func(m Migration) bool { return m.Version == was })
		if at < 0 && was != "0" {
			g.Relation = Behind
			return g
		}
		g.Relation, g.Migrations = Ahead, now.Applied[at+1:]
		return g
	}
	before, err1 := strconv.ParseInt(was, 10, 64)
	after, err2 := strconv.ParseInt(now.Current, 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		g.Relation = Other
	case after > before:
		g.Relation = Ahead
	default:
		g.Relation = Behind
	}
	return g
}

// parse reads what State.String wrote: versions by tool.
func parse(text string) map[string]string {
	found := map[string]string{}
	for one := range strings.SplitSeq(text, ", ") {
		tool, version, ok := strings.Cut(one, " ")
		if ok {
			found[tool] = strings.TrimSuffix(version, " "+dirty)
		}
	}
	return found
}
