package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func applied(versions ...string) []Migration {
	all := []Migration{}
	for _, v := range versions {
		all = append(all, Migration{Version: v})
	}
	return all
}

func TestState(t *testing.T) {
	t.Parallel()
	s := State{{Tool: Alembic, Current: "1f2e"}, {Tool: GolangMigrate, Current: "3", Dirty: true}}
	if got, want := s.String(), "alembic 1f2e, golang-migrate 3 dirty"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (State{}).String(); got != "" {
		t.Errorf("no table is %q", got)
	}
	if gaps := Compare(s.String(), s); len(gaps) > 0 {
		t.Errorf("a state differs from what is recorded of it: %v", gaps)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		recorded string
		present  State
		want     []Gap
	}{
		"nothing recorded":          {"", State{{Tool: Goose, Current: "2", Applied: applied("1", "2")}}, nil},
		"the same":                  {"goose 2", State{{Tool: Goose, Current: "2", Applied: applied("1", "2")}}, nil},
		"dirty is no other version": {"golang-migrate 3 dirty", State{{Tool: GolangMigrate, Current: "3"}}, nil},
		"ahead by two": {"goose 2", State{{Tool: Goose, Current: "4", Applied: applied("1", "2", "3", "4")}},
			[]Gap{{Goose, "2", "4", Ahead, applied("3", "4")}}},
		"ahead of none": {"goose 0", State{{Tool: Goose, Current: "1", Applied: applied("1")}},
			[]Gap{{Goose, "0", "1", Ahead, applied("1")}}},
		"behind, as after a restored backup": {"rails 20240302", State{{Tool: Rails, Current: "20240101", Applied: applied("20240101")}},
			[]Gap{{Rails, "20240302", "20240101", Behind, nil}}},
		"all taken back": {"goose 2", State{{Tool: Goose, Current: "0", Applied: applied()}}, []Gap{{Goose, "2", "0", Behind, nil}}},
		"a number alone": {"golang-migrate 3", State{{Tool: GolangMigrate, Current: "10"}},
			[]Gap{{GolangMigrate, "3", "10", Ahead, nil}}},
		"a smaller number alone": {"golang-migrate 10", State{{Tool: GolangMigrate, Current: "3"}},
			[]Gap{{GolangMigrate, "10", "3", Behind, nil}}},
		"hashes have no order": {"alembic 1f2e", State{{Tool: Alembic, Current: "ae10"}},
			[]Gap{{Alembic, "1f2e", "ae10", Other, nil}}},
		"another tool came and one went": {"rails 3", State{{Tool: Goose, Current: "1", Applied: applied("1")}},
			[]Gap{{Goose, "", "1", Ahead, applied("1")}, {Rails, "3", "", Behind, nil}}},
		"each tool by itself": {"alembic a, goose 1",
			State{{Tool: Alembic, Current: "a"}, {Tool: Goose, Current: "2", Applied: applied("1", "2")}},
			[]Gap{{Goose, "1", "2", Ahead, applied("2")}}},
	} {
		if diff := cmp.Diff(c.want, Compare(c.recorded, c.present)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
