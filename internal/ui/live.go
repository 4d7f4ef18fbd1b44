package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Clean makes a line of what another program printed safe for a terminal and for a log.
func Clean(s string) string { return clean(s) }

// Live is a table on a terminal that is drawn over itself. One goroutine uses it.
type Live struct {
	Out  io.Writer
	Size func() (width, height int) // of the terminal

	drawn int // lines that stand on the screen
}

// Draw puts the table in the place of the one before. It is cut to the terminal, so that no line of it wraps or scrolls away.
func (l *Live) Draw(r Result) error {
	width, height := l.Size()
	r.Width = width - 1
	var table bytes.Buffer
	if err := r.table(&table); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(table.String(), "\n"), "\n")
	if len(lines) > height-1 {
		lines = lines[:max(height-1, 1)]
	}
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	for _, line := range lines {
		b.WriteString(fit(line, width-1) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J") // the rest of a longer one
	l.drawn = len(lines)
	_, err := io.WriteString(l.Out, b.String())
	return err
}
