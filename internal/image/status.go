package image

import (
	"regexp"
	"slices"
	"strings"

	buildkit "github.com/moby/buildkit/client"

	"github.com/perch-k8s/perch/internal/progress"
)

// keepLines is how much of a step's output is kept for the case that it fails.
const keepLines = 20

// meter turns BuildKit's status into our events: the name of the step that was started last, and how far a transfer
// is. It keeps the last lines of each step.
type meter struct {
	id      string
	report  progress.Reporter
	verbose bool
	steps   map[string]*step // by vertex digest
	order   []*step
	last    progress.Event
	bases   []string // images that were built on, as NAME@sha256:…
}

// step is one vertex of the build graph.
type step struct {
	name   string // as "[build 2/4] RUN go build"
	err    string
	ended  bool
	lines  []string // the last keepLines of what it printed
	open   string   // printed, but the line is not complete
	events map[string]transfer
}

type transfer struct{ current, total int64 }

func newMeter(id string, r progress.Reporter, verbose bool) *meter {
	return &meter{id: id, report: r, verbose: verbose, steps: map[string]*step{}}
}

func (m *meter) update(s *buildkit.SolveStatus) {
	for _, v := range s.Vertexes {
		st := m.step(v.Digest.String())
		st.name, st.err, st.ended = v.Name, v.Error, v.Completed != nil
		if base := fromStep.FindStringSubmatch(v.Name); base != nil && !slices.Contains(m.bases, base[1]) {
			m.bases = append(m.bases, base[1])
		}
		// What is fetched from the cache is not a step that runs, though it begins and ends as one.
		if v.Started != nil && !v.Cached && !slices.Contains(m.order, st) {
			m.order = append(m.order, st)
		}
	}
	for _, v := range s.Statuses {
		m.step(v.Vertex.String()).events[v.ID] = transfer{v.Current, v.Total}
	}
	for _, l := range s.Logs {
		for _, line := range m.step(l.Vertex.String()).print(string(l.Data)) {
			if m.verbose {
				m.report.Report(progress.Event{ID: m.id, Status: progress.Output, Text: line})
			}
		}
	}
	m.tell()
}

func (m *meter) step(digest string) *step {
	s := m.steps[digest]
	if s == nil {
		s = &step{events: map[string]transfer{}}
		m.steps[digest] = s
	}
	return s
}

// print adds what a step printed and returns the lines that are now complete.
func (s *step) print(text string) []string {
	lines := strings.Split(s.open+text, "\n")
	s.open = lines[len(lines)-1]
	lines = lines[:len(lines)-1]
	for i, l := range lines {
		l = strings.TrimRight(l, "\r")
		lines[i] = l[strings.LastIndex(l, "\r")+1:] // a progress bar: only its last state
	}
	s.lines = append(s.lines, lines...)
	s.lines = s.lines[max(0, len(s.lines)-keepLines):]
	return lines
}

// output is the last lines of s, an incomplete one included.
func (s *step) output() []string {
	if s.open == "" {
		return s.lines
	}
	lines := append(slices.Clone(s.lines), s.open)
	return lines[max(0, len(lines)-keepLines):]
}

// tell reports the youngest step that runs, when that or its progress changed.
func (m *meter) tell() {
	for _, s := range slices.Backward(m.order) {
		if s.ended || s.name == "" {
			continue
		}
		e := progress.Event{ID: m.id, Status: progress.Working, Text: stepText(s.name)}
		for _, t := range s.events {
			if t.total > 0 {
				e.Current += t.current
				e.Total += t.total
			}
		}
		if e != m.last {
			m.last = e
			m.report.Report(e)
		}
		return
	}
}

// fromStep is the step of a FROM, with the image's name and digest as they were resolved.
var fromStep = regexp.MustCompile(`\] FROM (\S+@sha256:[0-9a-f]{64})$`)

// digestPart is what BuildKit puts behind an image's name; the name is what people know.
var digestPart = regexp.MustCompile(`@sha256:[0-9a-f]{64}`)

// stepText is a step's name for people: without the mark of BuildKit's own housekeeping, and with images named as in
// the Dockerfile.
func stepText(name string) string {
	words := strings.Split(digestPart.ReplaceAllString(strings.TrimPrefix(name, "[internal] "), ""), " ")
	for i := range words {
		if i > 0 && (words[i-1] == "FROM" || words[i-1] == "for") {
			words[i] = familiar(words[i])
		}
	}
	return strings.Join(words, " ")
}

// failed is the step that failed by itself, nil when none did; others were only cancelled.
func (m *meter) failed() *step {
	for _, s := range m.order {
		if s.err != "" && !strings.HasSuffix(s.err, "context canceled") {
			return s
		}
	}
	return nil
}
