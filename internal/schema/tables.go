package schema

import "slices"

// The names of the tools, as a release records them.
const (
	Goose         = "goose"
	GolangMigrate = "golang-migrate"
	Ecto          = "ecto"
	Rails         = "rails"
	Alembic       = "alembic"
	Django        = "django"
	Flyway        = "flyway"
	Prisma        = "prisma"
)

// table is the table in which a tool keeps what it applied.
type table struct {
	tool   string
	name   string
	column string // which this tool's table has and another tool's of the same name has not
	last   bool   // the table has only the newest migration
	// query gives a row for each migration, in the order in which the tool applies them: version, name, and whether it
	// failed half way. %s is the table; an ORDER BY that names no table would sort by the text that is selected. A version without a number of its own is NULL: it is no version of the schema.
	query string
}

// tables are all that are known; of two with the same name, the one whose column is there counts. The layouts are those of:
// pressly/goose internal/dialects; golang-migrate database/postgres; ecto_sql Ecto.Migration.SchemaMigration; Rails
// ActiveRecord::SchemaMigration (dbmate has the same); alembic runtime/migration.py; django db/migrations/recorder.py; Flyway
// JdbcTableSchemaHistory; prisma-engines schema-engine migration_persistence.
func tables() []table {
	return []table{
		{tool: Alembic, name: "alembic_version", column: "version_num", last: true,
			// A history with several heads has several rows, which are one version together.
			query: `SELECT string_agg(version_num, '+' ORDER BY version_num), '', false FROM %s HAVING count(*) > 0`},
		{tool: Django, name: "django_migrations", column: "app",
			query: `SELECT app || '.' || name, '', false FROM %s ORDER BY id`},
		{tool: Ecto, name: "schema_migrations", column: "inserted_at",
			query: `SELECT t.version::text, '', false FROM %s AS t ORDER BY t.version`},
		{tool: Flyway, name: "flyway_schema_history", column: "installed_rank",
			query: `SELECT version, description, NOT success FROM %s ORDER BY installed_rank`},
		{tool: GolangMigrate, name: "schema_migrations", column: "dirty", last: true,
			query: `SELECT version::text, '', dirty FROM %s`},
		{tool: Goose, name: "goose_db_version", column: "version_id",
			// Old versions of goose keep a row for each way up and down: the last one of a version counts.
			query: `SELECT version_id::text, '', false FROM (SELECT DISTINCT ON (version_id) version_id, is_applied FROM %s` +
				` ORDER BY version_id, id DESC) AS newest WHERE is_applied AND version_id > 0 ORDER BY newest.version_id`},
		{tool: Prisma, name: "_prisma_migrations", column: "migration_name",
			query: `SELECT migration_name, '', finished_at IS NULL FROM %s WHERE rolled_back_at IS NULL ORDER BY started_at`},
		{tool: Rails, name: "schema_migrations", column: "version",
			query: `SELECT version::text, '', false FROM %s ORDER BY length(version::text), version::text`},
	}
}

// found is a table of a database.
type found struct {
	schema, name string
	columns      []string
}

// known is which tool's table a table is. Those of the same name are tried in the order of tables.
func (f found) known() (table, bool) {
	for _, t := range tables() {
		if t.name == f.name && slices.Contains(f.columns, t.column) {
			return t, true
		}
	}
	return table{}, false
}

// row is one row of a table's query; version is nil for a migration without a number.
type row struct {
	version *string
	name    string
	failed  bool
}

// version folds the rows of a table.
func (t table) version(rows []row) Version {
	v := Version{Tool: t.tool, Current: "0"}
	if !t.last {
		v.Applied = []Migration{}
	}
	for _, r := range rows {
		if r.failed {
			v.Dirty = true
		}
		if r.failed && !t.last {
			continue // it was not applied
		}
		m := Migration{Version: r.name, Name: r.name}
		if r.version != nil {
			v.Current = *r.version
			m.Version = *r.version
		}
		if !t.last {
			v.Applied = append(v.Applied, m)
		}
	}
	return v
}
