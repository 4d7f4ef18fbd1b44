package ui

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/progress"
)

var update = flag.Bool("update", false, "write the golden files anew")

// script is a run as a list of steps: events, and drawings at a time.
type script []step

type step struct {
	at    time.Duration   // since the start
	event *progress.Event // nil: a drawing
	text  string          // a message, when not ""
}

func at(seconds float64, id, parent string, status progress.Status, text string) step {
	return step{at: time.Duration(seconds * float64(time.Second)),
		event: &progress.Event{ID: id, Parent: parent, Status: status, Text: text}}
}

func counted(s step, current, total int64) step {
	s.event.Current, s.event.Total = current, total
	return s
}

func tick(seconds float64) step { return step{at: time.Duration(seconds * float64(time.Second))} }

func message(seconds float64, text string) step {
	return step{at: time.Duration(seconds * float64(time.Second)), text: text}
}

func start() time.Time { return time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC) }

// play runs a script on a painter, as the goroutine of a Display would, and closes it at the time end.
func play(p painter, s script, end float64) {
	for _, step := range s {
		now := start().Add(step.at)
		switch {
		case step.event != nil:
			e := *step.event
			e.Time = now
			p.event(e)
		case step.text != "":
			p.message(step.text)
		default:
			p.flush(now)
		}
	}
	p.close(start().Add(time.Duration(end * float64(time.Second))))
}

// scripts are the runs that every renderer is tested with.
func scripts() map[string]script {
	return map[string]script{
		"up": {
			at(0, "cluster", "", progress.Working, "starting"),
			tick(0.1),
			at(2.4, "cluster", "", progress.Done, "ready"),
			at(2.4, "image web", "", progress.Working, "building"),
			at(2.5, "image web: builder 3/7", "image web", progress.Working, "RUN go build ./..."),
			counted(at(2.6, "image postgres", "", progress.Working, "pulling"), 12_300_000, 104_000_000),
			tick(3),
			at(3.1, "image web: builder 3/7", "image web", progress.Output, "go: downloading example.com/x v1.2.3"),
			tick(3.2),
			at(5, "image web: builder 3/7", "image web", progress.Done, ""),
			at(5.1, "image postgres", "", progress.Same, ""),
			tick(5.2),
			at(7.25, "image web", "", progress.Done, "built shop-web:1a2b3c4"),
			at(7.3, "service web", "", progress.Warned, "no healthcheck: ready means that port 4000 answers"),
			counted(at(7.3, "service web", "", progress.Working, "rolling out"), 1, 3),
			tick(7.4),
			counted(at(8, "service web", "", progress.Working, "rolling out"), 3, 3),
			at(69.9, "service web", "", progress.Done, "3 of 3 ready"),
		},
		"failure": {
			at(0, "service web", "", progress.Working, "migrating"),
			at(0.1, "migration web 0", "service web", progress.Working, "running"),
			at(0.2, "migration web 0", "service web", progress.Output, "\x1b[32mapplying\x1b[0m 0002_index.sql"),
			at(0.3, "migration web 0", "service web", progress.Output, "10%\r100%\r"),
			at(0.4, "migration web 0", "service web", progress.Output, `ERROR: relation "rows" does not exist (SQLSTATE 42P01)`),
			tick(0.5),
			at(1, "migration web 0", "service web", progress.Failed, "exit code 1"),
			at(1, "service web", "", progress.Failed, "migration web 0: exit code 1; the previous version serves on, and it will as long as nobody takes it away"),
			tick(1.1),
		},
		"interrupted": {
			at(0, "cluster", "", progress.Working, "starting"),
			tick(0.1),
			message(0.2, "interrupted: stopping; a second Ctrl-C quits at once"),
			tick(0.3),
		},
		"long": {
			at(0, "image web", "", progress.Working, "building"),
			tick(10),
			tick(31),
			tick(40),
			tick(62),
			at(63, "image web", "", progress.Done, "built"),
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (refresh with -update) -want +got:\n%s", path, diff)
	}
}

func TestRenderersGolden(t *testing.T) {
	t.Parallel()
	for name, s := range scripts() {
		for _, kind := range []string{"tty", "plain", "json", "quiet"} {
			t.Run(name+"."+kind, func(t *testing.T) {
				t.Parallel()
				var b bytes.Buffer
				o := Options{Out: &b, Now: func() time.Time { return start().Add(time.Second) }}
				o.Mode = Mode(kind)
				play(newPainter(o), s, 70)
				got := b.String()
				if kind == "tty" {
					got = readable(got)
				}
				golden(t, name+"."+kind, got)
			})
		}
	}
}

// readable shows control sequences, so that a golden file can be reviewed.
func readable(s string) string {
	return strings.NewReplacer("\x1b", "␛", "\r\n", "\n", "\r", "␍").Replace(s)
}

// TestColors sees that colours change nothing but add styles.
func TestColors(t *testing.T) {
	t.Parallel()
	draw := func(color bool) string {
		var b bytes.Buffer
		play(newTTY(Options{Out: &b, Color: color}), scripts()["up"], 70)
		return b.String()
	}
	plain, colored := draw(false), draw(true)
	if plain == colored {
		t.Fatal("no colours")
	}
	for _, style := range []string{styleReset, styleDim, styleBold, styleRed, styleGreen, styleYellow, styleCyan} {
		colored = strings.ReplaceAll(colored, style, "")
	}
	if diff := cmp.Diff(plain, colored); diff != "" {
		t.Errorf("with colours taken out -plain +colored:\n%s", diff)
	}
}
