package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/perch-k8s/perch/internal/progress"
)

// Control sequences (ECMA-48; 25 is DEC's "cursor visible").
const (
	cursorHide  = "\x1b[?25l"
	cursorShow  = "\x1b[?25h"
	clearToEnd  = "\x1b[K"
	clearBelow  = "\x1b[J"
	styleReset  = "\x1b[0m"
	styleDim    = "\x1b[2m"
	styleBold   = "\x1b[1m"
	styleRed    = "\x1b[31m"
	styleGreen  = "\x1b[32m"
	styleYellow = "\x1b[33m"
	styleCyan   = "\x1b[36m"
)

// Sizes of a line. A line wider than widest is hard to follow from the name to the time.
const (
	widest      = 120
	narrowest   = 30 // of a column in which a text is wrapped
	idWidth     = 40 // of the names' column, at most a third of the line
	timeWidth   = 6  // 12m34s
	markerWidth = 2
)

// ttyPainter keeps one live line for each thing that goes on, below the lines that stay: those of what ended. Parts of
// a thing are shown under it while both go on, and fold into its line when it ends; a part that failed stays.
//
//	✓ cluster           ready                                       2.4s
//	/ image web         RUN go build ./...                          3.1s
type ttyPainter struct {
	out    io.Writer
	color  bool
	size   func() (int, int)
	things things

	staying []string // lines that stay and are not on the screen yet
	live    []int    // columns of each live line on the screen
	hidden  bool     // the cursor is
	ended   bool     // no more is coming: what still goes on was broken off
}

var _ painter = (*ttyPainter)(nil)

func newTTY(o Options) *ttyPainter {
	size := o.Size
	if size == nil {
		size = func() (int, int) { return 80, 24 }
	}
	return &ttyPainter{out: o.Out, color: o.Color, size: size, things: things{}}
}

func (p *ttyPainter) event(e progress.Event) {
	t := p.things.take(e, clean(e.Text))
	switch e.Status {
	case progress.Warned:
		p.staying = append(p.staying, p.hanging(styleYellow, "!", clean(e.ID)+": "+clean(e.Text))...)
	case progress.Failed:
		p.staying = append(p.staying, p.failure(t, e.Time)...)
	case progress.Done, progress.Same:
		if p.things.above(t) == nil {
			p.staying = append(p.staying, p.line(t, e.Time, 0))
		}
	case progress.Working, progress.Output:
	}
}

func (p *ttyPainter) message(text string) { p.staying = append(p.staying, text) }

func (p *ttyPainter) showed(line string) bool {
	for _, t := range p.things {
		if t.status == progress.Failed && slices.Contains(t.output, clean(line)) {
			return true
		}
	}
	return false
}

// flush draws: the new lines that stay over the old live lines, then the live lines anew. It is one write, so that a
// terminal does not show half of it.
func (p *ttyPainter) flush(now time.Time) {
	width, height := p.usable()
	lines := p.liveLines(now, height-1)
	if len(p.staying) == 0 && len(lines) == 0 && len(p.live) == 0 {
		return
	}
	p.draw(lines, width)
}

func (p *ttyPainter) close(now time.Time) {
	width, _ := p.usable()
	p.ended = true
	for _, t := range p.things.all(func(t *thing) bool { return t.active() && p.things.above(t) == nil }) {
		p.staying = append(p.staying, p.line(t, now, 0))
	}
	for _, t := range p.things.all(func(t *thing) bool { return t.status == progress.Failed && len(t.output) > 0 }) {
		p.staying = append(p.staying, "", p.paint(styleBold, clean(t.id)+" printed:"))
		if t.dropped > 0 {
			p.staying = append(p.staying, fmt.Sprintf("    (%d earlier lines are not kept)", t.dropped))
		}
		for _, line := range t.output {
			p.staying = append(p.staying, "    "+line)
		}
	}
	if len(p.staying) > 0 || len(p.live) > 0 {
		p.draw(nil, width)
	}
	if p.hidden {
		p.hidden = false
		_, _ = io.WriteString(p.out, cursorShow)
	}
}

func (p *ttyPainter) usable() (width, height int) {
	width, height = p.size()
	if width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

func (p *ttyPainter) draw(lines []string, width int) {
	var b strings.Builder
	if up := rows(p.live, width); up > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", up)
	}
	if !p.hidden && len(lines) > 0 {
		p.hidden = true
		b.WriteString(cursorHide)
	}
	for _, line := range p.staying {
		b.WriteString(line + clearToEnd + "\r\n")
	}
	p.staying = nil
	p.live = p.live[:0]
	for _, line := range lines {
		b.WriteString(line + clearToEnd + "\r\n")
		p.live = append(p.live, cells(unstyled(line)))
	}
	b.WriteString(clearBelow)
	_, _ = io.WriteString(p.out, b.String())
}

// rows is how many rows lines of these columns take on a screen of this width: a terminal that was made narrower has
// wrapped what was on it.
func rows(columns []int, width int) int {
	n := 0
	for _, c := range columns {
		n += max(1, (c+width-1)/width)
	}
	return n
}

// liveLines are the lines of what goes on, parts under their wholes, at most limit of them.
func (p *ttyPainter) liveLines(now time.Time, limit int) []string {
	var lines []string
	var add func(t *thing, depth int)
	add = func(t *thing, depth int) {
		lines = append(lines, p.line(t, now, depth))
		for _, part := range p.things.all(func(o *thing) bool { return o.active() && p.things.above(o) == t }) {
			add(part, depth+1)
		}
	}
	for _, t := range p.things.all(func(t *thing) bool { return t.active() && p.things.above(t) == nil }) {
		add(t, 0)
	}
	limit = max(limit, 1)
	if len(lines) > limit {
		rest := fmt.Sprintf("  … and %d more", len(lines)-limit+1)
		lines = append(lines[:limit-1], p.paint(styleDim, rest))
	}
	return lines
}

// name is a thing's name: its ID, for a part without what it shares with its whole, since it stands below it.
func (p *ttyPainter) name(t *thing) string {
	id := t.id
	if above := p.things.above(t); above != nil && t.active() {
		if rest, ok := strings.CutPrefix(id, above.id); ok {
			id = orElse(strings.TrimLeft(rest, ":/ "), id)
		}
	}
	return clean(id)
}

// columns are those of a line's names and texts. They follow from the width alone, not from the names so far: lines that stay
// would not be aligned with later ones.
func (p *ttyPainter) columns() (line, name, text int) {
	width, _ := p.usable()
	line = min(width-1, widest) // a full line would wrap
	name = min(idWidth, line/3)
	return line, name, line - markerWidth - name - 2 - 2 - timeWidth
}

// line is the line of t: marker, name, text, time. It fits the width.
func (p *ttyPainter) line(t *thing, now time.Time, depth int) string {
	width, nameWidth, room := p.columns()
	nameWidth -= 2 * depth
	marker, style := p.marker(t, now)
	took := p.took(t, now)
	text, textStyle := p.text(t)
	head := strings.Repeat("  ", depth) + p.paint(style, marker) + " "
	if room < 10 && t.active() {
		return p.tight(t, head, text, took, width)
	}
	head += pad(fitMiddle(p.name(t), nameWidth), nameWidth) + "  "
	text = fit(text, room)
	if took == "" {
		return head + p.paint(textStyle, text)
	}
	gap := strings.Repeat(" ", room-cells(text)+2+max(0, timeWidth-len(took)))
	return head + p.paint(textStyle, text) + gap + p.paint(styleDim, took)
}

// failure are the lines of a t that failed, of which nothing is cut. A text too long for its column goes on below it, word by
// word. Where a word is too long for the column, as an address, or the name for its own, all goes on below the name.
//
//	x service web       container web crashes: it exited with           1.2s
//	                    code 1 (restarts: 2)
//	x image api: image "registry.example.com/…" is not in the node and no
//	    registry answers 0.1s
func (p *ttyPainter) failure(t *thing, now time.Time) []string {
	_, nameWidth, room := p.columns()
	text, style := p.text(t)
	named := cells(p.name(t)) <= nameWidth
	if named && cells(text) <= room {
		return []string{p.line(t, now, 0)}
	}
	parts := wrap(text, room)
	if !named || room < narrowest || slices.ContainsFunc(parts, func(part string) bool { return cells(part) > room }) {
		marker, style := p.marker(t, now)
		return p.hanging(style, marker, p.name(t)+": "+text+prefixed(" ", p.took(t, now)))
	}
	whole := *t
	whole.text = parts[0]
	lines := []string{p.line(&whole, now, 0)}
	for _, part := range parts[1:] {
		lines = append(lines, strings.Repeat(" ", markerWidth+nameWidth+2)+p.paint(style, part))
	}
	return lines
}

// hanging are the lines of what has no columns, broken between words: all but the first stand below its text.
func (p *ttyPainter) hanging(style, marker, text string) []string {
	const indent = "    "
	width, _, _ := p.columns()
	lines := wrap(text, width-len(indent))
	for i := range lines[1:] {
		lines[i+1] = indent + lines[i+1]
	}
	lines[0] = p.paint(style, marker) + " " + lines[0]
	return lines
}

// took is how long t took, or has taken so far; "" when nothing was to be done, or it was done in no time.
func (p *ttyPainter) took(t *thing, now time.Time) string {
	switch {
	case t.status == progress.Same, !t.active() && t.took() < noTime:
		return ""
	case t.active():
		return Duration(now.Sub(t.since))
	default:
		return Duration(t.took())
	}
}

// tight is a live line without columns, for narrow terminals.
func (p *ttyPainter) tight(t *thing, head, text, took string, width int) string {
	line := p.name(t) + prefixed(": ", text) + prefixed(" ", took)
	return head + fit(line, width-cells(unstyled(head)))
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// text is what the line of t says after its name.
func (p *ttyPainter) text(t *thing) (text, style string) {
	switch t.status {
	case progress.Done:
		return orElse(t.text, "done"), ""
	case progress.Same:
		return orElse(t.text, "unchanged"), styleDim
	case progress.Failed:
		return orElse(t.text, "failed"), styleRed
	default:
		text := t.text
		if t.printed != "" {
			text, style = t.printed, styleDim // what it prints says more than that it runs
		}
		if a := amount(t.current, t.total); a != "" && !strings.Contains(text, a) {
			text = strings.TrimSpace(text + " " + a)
		}
		if p.ended {
			text, style = "broken off: "+orElse(text, "not finished"), styleDim
		}
		return text, style
	}
}

func (p *ttyPainter) marker(t *thing, now time.Time) (marker, style string) {
	switch t.status {
	case progress.Done:
		return "✓", styleGreen
	case progress.Same:
		return "✓", styleDim
	case progress.Failed:
		return "x", styleRed
	default:
		if p.ended {
			return "-", styleDim
		}
		const turning = `|/-\`
		return turning[now.UnixMilli()/int64(redrawEvery/time.Millisecond)%4:][:1], styleCyan
	}
}

func (p *ttyPainter) paint(style, s string) string {
	if !p.color || style == "" || s == "" {
		return s
	}
	return style + s + styleReset
}

// unstyled is s without our own styles.
func unstyled(s string) string { return clean(s) }
