package ui

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/progress"
)

// screen is a terminal as far as the tty renderer uses one: text, line feeds, cursor up, clearing, cursor visibility.
type screen struct {
	width, height int
	rows          [][]rune
	x, y          int // of the cursor, y from the first row ever
	hidden        bool
	highest       int // of the cursor's y: how far down the text went
	broken        string
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		text = text[s.one(text):]
	}
	return len(p), nil
}

func (s *screen) one(text string) int {
	switch {
	case strings.HasPrefix(text, "\x1b["):
		return s.control(text)
	case text[0] == '\r':
		s.x = 0
		return 1
	case text[0] == '\n':
		s.y++
		s.highest = max(s.highest, s.y)
		return 1
	}
	r := []rune(text)[0]
	if s.x >= s.width {
		s.x, s.y = 0, s.y+1
		s.highest = max(s.highest, s.y)
	}
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
	for len(s.rows[s.y]) <= s.x {
		s.rows[s.y] = append(s.rows[s.y], ' ')
	}
	s.rows[s.y][s.x] = r
	s.x++
	return len(string(r))
}

func (s *screen) control(text string) int {
	end := 2 + strings.IndexFunc(text[2:], func(r rune) bool { return r >= '@' && r <= '~' })
	argument := text[2:end]
	switch text[end] {
	case 'A':
		n, _ := strconv.Atoi(argument)
		s.y -= n
		if s.y < 0 || s.highest-s.y >= s.height {
			s.broken = fmt.Sprintf("cursor up %d leaves the screen", n)
		}
	case 'K':
		if s.y < len(s.rows) {
			s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
		}
	case 'J':
		if s.y < len(s.rows) {
			s.rows = s.rows[:s.y+1]
			s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
		}
	case 'l':
		s.hidden = true
	case 'h':
		s.hidden = false
	case 'm':
	default:
		s.broken = "unknown sequence " + strconv.Quote(text[:end+1])
	}
	return end + 1
}

func (s *screen) text() string {
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// resize wraps the text anew, as terminals do.
func (s *screen) resize(width int) {
	old := s.rows
	s.rows, s.width, s.x, s.y = nil, width, 0, 0
	for _, row := range old {
		text := []rune(strings.TrimRight(string(row), " "))
		for len(text) > width {
			s.rows = append(s.rows, text[:width])
			text = text[width:]
		}
		s.rows = append(s.rows, text)
	}
	s.y = len(s.rows)
	s.highest = s.y
}

// TestScreenAtEnd looks at what a person sees in the end: the lines that stay, each once, nothing of the live ones.
func TestScreenAtEnd(t *testing.T) {
	t.Parallel()
	for name, s := range scripts() {
		for _, width := range []int{40, 80, 200} {
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				t.Parallel()
				sc := &screen{width: width, height: 24}
				play(newTTY(Options{Out: sc, Color: true, Size: func() (int, int) { return width, 24 }}), s, 70)
				if sc.broken != "" || sc.hidden {
					t.Errorf("broken %q, cursor hidden %v", sc.broken, sc.hidden)
				}
				golden(t, fmt.Sprintf("%s.screen%d", name, width), sc.text())
			})
		}
	}
}

// TestManyThings has more going on than the terminal has rows.
func TestManyThings(t *testing.T) {
	t.Parallel()
	sc := &screen{width: 60, height: 10}
	p := newTTY(Options{Out: sc, Size: func() (int, int) { return 60, 10 }})
	for i := range 30 {
		p.event(progress.Event{ID: fmt.Sprintf("service s%02d", i), Status: progress.Working, Text: "rolling out", Time: start()})
		p.flush(start())
	}
	lines := strings.Split(strings.TrimSpace(sc.text()), "\n")
	if len(lines) != 9 || strings.TrimSpace(lines[8]) != "… and 22 more" {
		t.Errorf("live lines:\n%s", sc.text())
	}
	for i := range 30 {
		p.event(progress.Event{ID: fmt.Sprintf("service s%02d", i), Status: progress.Done, Time: start().Add(time.Second)})
		p.flush(start())
	}
	p.close(start())
	if sc.broken != "" || sc.hidden {
		t.Errorf("broken %q, cursor hidden %v", sc.broken, sc.hidden)
	}
	if got := strings.Count(sc.text(), "done"); got != 30 {
		t.Errorf("%d lines stay, want 30:\n%s", got, sc.text())
	}
}

// TestNarrower makes the terminal narrower between two drawings: what was drawn is wrapped, and must still be erased.
func TestNarrower(t *testing.T) {
	t.Parallel()
	sc := &screen{width: 100, height: 24}
	p := newTTY(Options{Out: sc, Size: func() (int, int) { return sc.width, 24 }})
	p.event(progress.Event{ID: "image web", Status: progress.Working, Text: strings.Repeat("very ", 30), Time: start()})
	p.flush(start())
	sc.resize(40)
	p.flush(start().Add(time.Second))
	p.event(progress.Event{ID: "image web", Status: progress.Done, Text: "built", Time: start().Add(time.Second)})
	p.close(start().Add(time.Second))
	want := "✓ image web      built             1.0s\n"
	if diff := cmp.Diff(want, sc.text()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                      "plain",
		"\x1b[1;31mred\x1b[0m":       "red",
		"\x1b]0;title\x07text":       "text",
		"\x1b]8;;http://x\x1b\\link": "link",
		"10%\r50%\r100%":             "100%",
		"line\r\n":                   "line",
		"a\tb":                       "a    b",
		"bell\a":                     "bell",
		"\x1b[2J\x1b[Hgone":          "gone",
		"cut\x1b[":                   "cut",
		"\x1b":                       "",
		"höhe 日本":                    "höhe 日本",
		"\x1b[31mrot\xff":            "rot\xff",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"short", 10, "short"},
		{"exactly", 7, "exactly"},
		{"too long", 5, "too …"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"x", 0, ""},
	} {
		if got := fit(c.in, c.limit); got != c.want {
			t.Errorf("fit(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
		if got := cells(fit(c.in, c.limit)); got > c.limit {
			t.Errorf("fit(%q, %d) takes %d columns", c.in, c.limit, got)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                 {""},
		"short":            {"short"},
		"one two three":    {"one two", "three"},
		"a verylongword b": {"a", "verylongword", "b"},
		"日本 日本 x":          {"日本", "日本 x"},
		"exactly eight":    {"exactly", "eight"},
	} {
		if diff := cmp.Diff(want, wrap(text, 8)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second:             "0.0s",
		42 * time.Millisecond:    "0.0s",
		420 * time.Millisecond:   "0.4s",
		59940 * time.Millisecond: "59.9s",
		59960 * time.Millisecond: "1m00s",
		125 * time.Second:        "2m05s",
		62 * time.Minute:         "1h02m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		5 * time.Second: "5s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 3 * time.Hour: "3h", 72 * time.Hour: "3d",
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 3400: "3.4 kB", 12_345_678: "12.3 MB", 5e9: "5.0 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestDisplay uses a Display as stages do: from many goroutines, also after its end.
func TestDisplay(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{TTY, Plain, JSON, Quiet} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			ticks := make(chan time.Time)
			d := New(Options{Mode: mode, Out: &b, Now: start,
				Ticks: func() (<-chan time.Time, func()) { return ticks, func() {} }})
			done := make(chan struct{})
			for i := range 10 {
				go func() {
					for range 100 {
						d.Report(progress.Event{ID: fmt.Sprintf("t%d", i), Status: progress.Output, Text: "line"})
					}
					d.Report(progress.Event{ID: fmt.Sprintf("t%d", i), Status: progress.Failed, Text: "broke"})
					done <- struct{}{}
				}()
			}
			for range 10 {
				<-done
			}
			d.Message("the end")
			ticks <- start()
			go d.Close()
			d.Close()
			d.Close()
			d.Report(progress.Event{ID: "late", Status: progress.Done})
			got := b.String()
			if n := strings.Count(got, "broke"); n != 10 {
				t.Errorf("%d failures shown, want 10", n)
			}
			if !strings.Contains(got, "the end") || strings.Contains(got, "late") {
				t.Errorf("message missing or late event shown:\n%s", got)
			}
			if want := mode == TTY; d.Showed("line") != want {
				t.Errorf("Showed = %v, want %v", !want, want)
			}
		})
	}
}

// TestFailureIsWhole has failures that do not fit their columns: no word and no name of them is cut or torn.
func TestFailureIsWhole(t *testing.T) {
	t.Parallel()
	sc := &screen{width: 60, height: 24}
	p := newTTY(Options{Out: sc, Size: func() (int, int) { return 60, 24 }})
	fail := func(id, text string) {
		p.event(progress.Event{ID: id, Status: progress.Working, Time: start()})
		p.event(progress.Event{ID: id, Status: progress.Failed, Text: text, Time: start().Add(time.Second)})
	}
	fail("image api", `image "registry.example.com/team/with-a-long-name:1.2.3" is not in the node and no registry answers`)
	fail("service reports-and-statistics-aggregator", "crashes")
	fail("service web", "two\nlines")
	p.close(start())
	want := `x image api: image
    "registry.example.com/team/with-a-long-name:1.2.3" is
    not in the node and no registry answers 1.0s
x service reports-and-statistics-aggregator: crashes 1.0s
x service web          two lines                       1.0s
`
	if diff := cmp.Diff(want, sc.text()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFitMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"service web", 11, "service web"},
		{"service worker-mail", 14, "service w…mail"},
		{"service worker-news", 14, "service w…news"},
		{"日本語日本語", 9, "日本語…語"},
		{"service web", 2, "s…"},
		{"service web", 1, "…"},
		{"service web", 0, ""},
	} {
		if got := fitMiddle(c.in, c.limit); got != c.want {
			t.Errorf("fitMiddle(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

// TestAligned has names that get longer: the lines that stay are one table all the same.
func TestAligned(t *testing.T) {
	t.Parallel()
	sc := &screen{width: 120, height: 24}
	p := newTTY(Options{Out: sc, Size: func() (int, int) { return 120, 24 }})
	for _, id := range []string{"cluster", "service web", "service billing-and-statistics"} {
		p.event(progress.Event{ID: id, Status: progress.Same, Time: start()})
		p.flush(start())
	}
	p.close(start())
	for _, line := range strings.Split(strings.TrimSpace(sc.text()), "\n") {
		if got, want := strings.Index(line, "unchanged"), strings.Index(sc.text(), "unchanged"); got != want {
			t.Errorf("text at %d of %q, want %d as in the line above", got, line, want)
		}
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	text := "\nup: context perch, revisions of 20 services, 35.9s\nnext:  perch ps"
	want := "\nup: context perch, revisions of 20\n  services, 35.9s\nnext:  perch ps"
	if diff := cmp.Diff(want, Fold(text, 40)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, columns := range []int{0, 50} {
		if got := Fold(text, columns); got != text {
			t.Errorf("at %d it became %q", columns, got)
		}
	}
}
