package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Result is what a command answers, ready for each Format.
type Result struct {
	Header []string   // of the table
	Rows   [][]string // of the table; each as long as Header
	Names  []string   // for FormatName, one a line
	Value  any        // for JSON and YAML; its json tags are the documented names
	Empty  string     // a line for people when there are no rows
	Width  int        // columns of the terminal that the table goes to; 0: it is none, and nothing is cut
}

// Write prints r in format f.
func (r Result) Write(w io.Writer, f Format) error {
	switch f {
	case FormatJSON:
		data, err := json.MarshalIndent(r.Value, "", "  ")
		if err != nil {
			return fmt.Errorf("json: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", data)
		return err
	case FormatYAML:
		data, err := yaml.Marshal(r.Value)
		if err != nil {
			return fmt.Errorf("yaml: %w", err)
		}
		_, err = w.Write(data)
		return err
	case FormatName:
		for _, name := range r.Names {
			if _, err := fmt.Fprintln(w, name); err != nil {
				return err
			}
		}
		return nil
	default:
		return r.table(w)
	}
}

// table writes aligned columns, three spaces apart, as kubectl does; the last one is not filled.
func (r Result) table(w io.Writer) error {
	if len(r.Rows) == 0 && r.Empty != "" {
		_, err := fmt.Fprintln(w, r.Empty)
		return err
	}
	lines, gap := append([][]string{r.Header}, r.Rows...), 3
	widths := widthsOf(lines)
	if over(widths, gap, r.Width) > 0 {
		lines, gap = filled(lines), 2
		widths = narrow(widthsOf(lines), gap, r.Width)
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString(pad(fitMiddle(clean(cell), widths[i]), widths[i]+gap))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func widthsOf(lines [][]string) []int {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], cells(clean(cell)))
		}
	}
	return widths
}

// over is by how many columns a table is wider than a terminal.
func over(widths []int, gap, terminal int) int {
	if terminal <= 0 {
		return 0
	}
	n := gap*(len(widths)-1) - terminal
	for _, w := range widths {
		n += w
	}
	return n
}

// filled are the lines without those columns that are empty but for their header.
func filled(lines [][]string) [][]string {
	kept := make([][]string, len(lines))
	for i := range lines[0] {
		if !slices.ContainsFunc(lines[1:], func(line []string) bool { return line[i] != "" }) {
			continue
		}
		for n, line := range lines {
			kept[n] = append(kept[n], line[i])
		}
	}
	return kept
}

// narrow takes from the widest columns what is too wide for a terminal: wrapped lines are no table. A column of some letters
// tells nothing, though: where that would be needed, nothing is cut and the lines wrap.
func narrow(widths []int, gap, terminal int) []int {
	const least = 8
	room := 0
	for _, w := range widths {
		room += max(0, w-least)
	}
	left := over(widths, gap, terminal)
	if left > room {
		return widths
	}
	for ; left > 0; left-- {
		widths[slices.Index(widths, slices.Max(widths))]--
	}
	return widths
}
