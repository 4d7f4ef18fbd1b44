package ui

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	terminal := Surroundings{Terminal: true, Term: "xterm-256color"}
	with := func(change func(*Surroundings)) Surroundings {
		s := terminal
		change(&s)
		return s
	}
	for _, c := range []struct {
		name   string
		mode   Mode
		around Surroundings
		want   Mode
		colors bool // with ColorAuto
	}{
		{"terminal", Auto, terminal, TTY, true},
		{"pipe", Auto, Surroundings{Term: "xterm"}, Plain, false},
		{"dumb terminal", Auto, with(func(s *Surroundings) { s.Term = "dumb" }), Plain, false},
		{"no TERM", Auto, with(func(s *Surroundings) { s.Term = "" }), Plain, false},
		{"CI", Auto, with(func(s *Surroundings) { s.CI = "true" }), Plain, true},
		{"CI=false", Auto, with(func(s *Surroundings) { s.CI = "false" }), TTY, true},
		{"NO_COLOR", Auto, with(func(s *Surroundings) { s.NoColor = "1" }), TTY, false},
		{"asked for plain", Plain, terminal, Plain, true},
		{"asked for tty in CI", TTY, with(func(s *Surroundings) { s.CI = "true" }), TTY, true},
		{"asked for tty on a pipe", TTY, Surroundings{Term: "xterm"}, Plain, false},
		{"asked for json", JSON, terminal, JSON, true},
		{"asked for quiet", Quiet, Surroundings{}, Quiet, false},
	} {
		if got := c.mode.Resolve(c.around); got != c.want {
			t.Errorf("%s: mode %s, want %s", c.name, got, c.want)
		}
		if got := ColorAuto.Colors(c.around); got != c.colors {
			t.Errorf("%s: colours %v, want %v", c.name, got, c.colors)
		}
	}
	if !ColorAlways.Colors(Surroundings{}) || ColorNever.Colors(terminal) {
		t.Error("always and never do not decide")
	}
}

func TestEnums(t *testing.T) {
	t.Parallel()
	var m Mode
	if err := m.Set("plain"); err != nil || m != Plain {
		t.Errorf("plain: %v, %v", m, err)
	}
	err := m.Set("fancy")
	if want := "must be one of auto, tty, plain, json, quiet"; err == nil || err.Error() != want {
		t.Errorf("fancy: %v, want %q", err, want)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := Result{
		Header: []string{"NAME", "STATE", "PORTS"},
		Rows:   [][]string{{"web", "Running", "4000/tcp"}, {"postgres-長い", "Pending", ""}},
		Names:  []string{"web", "postgres"},
		Value:  []map[string]string{{"name": "web"}},
		Empty:  "nothing",
	}
	for format, want := range map[Format]string{
		FormatTable:   "NAME            STATE     PORTS\nweb             Running   4000/tcp\npostgres-長い   Pending\n",
		FormatDefault: "NAME            STATE     PORTS\nweb             Running   4000/tcp\npostgres-長い   Pending\n",
		FormatJSON:    "[\n  {\n    \"name\": \"web\"\n  }\n]\n",
		FormatYAML:    "- name: web\n",
		FormatName:    "web\npostgres\n",
	} {
		var b bytes.Buffer
		if err := r.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%q -want +got:\n%s", format, diff)
		}
	}
	r.Rows = nil
	var b bytes.Buffer
	if err := r.Write(&b, FormatTable); err != nil || b.String() != "nothing\n" {
		t.Errorf("empty table: %q, %v", b.String(), err)
	}
}

// TestTableFits has a table that is wider than the terminal: it closes up, then its widest cells are cut, and its lines are not.
func TestTableFits(t *testing.T) {
	t.Parallel()
	r := Result{
		Header: []string{"SERVICE", "POD", "STATE", "AGE", "PORTS"},
		Rows: [][]string{
			{"web", "web-659c54bf75-5xtl2", "Running", "30s", ""},
			{"reports-and-statistics", "reports-and-statistics-69bc4fd7-rndzl", "Running", "2m", ""},
		},
	}
	for width, want := range map[int]string{
		75: "SERVICE                 POD                                    STATE    AGE\n" +
			"web                     web-659c54bf75-5xtl2                   Running  30s\n" +
			"reports-and-statistics  reports-and-statistics-69bc4fd7-rndzl  Running  2m\n",
		60: "SERVICE                 POD                     STATE    AGE\n" +
			"web                     web-659c54bf75-5xtl2    Running  30s\n" +
			"reports-and-statistics  reports-and-st…7-rndzl  Running  2m\n",
		20: "SERVICE                 POD                                    STATE    AGE\n" +
			"web                     web-659c54bf75-5xtl2                   Running  30s\n" +
			"reports-and-statistics  reports-and-statistics-69bc4fd7-rndzl  Running  2m\n",
	} {
		r.Width = width
		var b bytes.Buffer
		if err := r.Write(&b, FormatTable); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("at %d -want +got:\n%s", width, diff)
		}
	}
}
