package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// clean makes a line safe for a terminal and for a log: what other programs print may hold escape sequences, which
// would move our cursor, and carriage returns, of which a person sees only the last stretch.
func clean(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		s = s[i+1:]
	}
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if n := escapeLength(s[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\t':
			b.WriteString("    ")
		case r == '\n': // as in an error that was joined from several
			b.WriteString(" ")
		case !unicode.IsControl(r):
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// escapeLength is the length of the escape sequence that s begins with, 0 when it begins with none. It knows CSI
// (ESC [ … letter), OSC (ESC ] … BEL or ESC \) and the two-byte ones (ECMA-48).
func escapeLength(s string) int {
	if len(s) < 2 || s[0] != 0x1b {
		return 0
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	default:
		return 2
	}
}

// cells is how many columns of a terminal s takes. s is clean.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

func runeCells(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// fit cuts s to at most limit columns, with an ellipsis when something was cut.
func fit(s string, limit int) string {
	if limit <= 0 {
		return ""
	}
	if cells(s) <= limit {
		return s
	}
	n := 0
	for i, r := range s {
		c := runeCells(r)
		if n+c > limit-1 {
			return s[:i] + "…"
		}
		n += c
	}
	return s
}

// fitMiddle cuts s to at most limit columns, and keeps its end: names that begin alike, as those of a family of services or of
// pods, differ there.
func fitMiddle(s string, limit int) string {
	if limit <= 0 || cells(s) <= limit {
		return fit(s, limit)
	}
	runes := []rune(s)
	end, n := len(runes), 0
	for ; n+runeCells(runes[end-1]) <= limit/3; end-- {
		n += runeCells(runes[end-1])
	}
	return fit(s, limit-n) + string(runes[end:])
}

// wrap breaks s into lines of at most limit columns, between words. A word that is longer, as a path or an address that is to
// be copied, has a line of its own.
func wrap(s string, limit int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case cells(line)+1+cells(word) <= limit:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// Fold breaks lines that are wider than a terminal between words; what goes on stands below, indented. A terminal that does not
// know its width, or has next to none, wraps by itself.
func Fold(text string, columns int) string {
	if columns < narrowest {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if cells(line) > columns {
			lines[i] = strings.Join(wrap(line, columns-len("  ")), "\n  ")
		}
	}
	return strings.Join(lines, "\n")
}

// pad fills s with spaces to columns.
func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-cells(s)))
}

// Duration is d as people read it: 0.4s, 12.3s, 2m05s, 1h02m.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// Age is how long ago something was, as kubectl and docker write it: 5s, 3m, 2h, 4d.
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// amount is how much is done of a total, "" when neither is known. Totals of 64 Ki and more are taken for bytes, the
// only things counted in such numbers here.
func amount(current, total int64) string {
	const bytesFrom = 64 << 10
	switch {
	case total <= 0:
		return ""
	case total < bytesFrom:
		return fmt.Sprintf("%d/%d", current, total)
	default:
		return fmt.Sprintf("%s/%s", Bytes(current), Bytes(total))
	}
}

// Bytes is a size in decimal units, as registries and docker write them: 512 B, 3.4 MB.
func Bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n)/unit, "kMGTPE"
	for f >= unit && len(units) > 1 {
		f, units = f/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %cB", f, units[0])
}
