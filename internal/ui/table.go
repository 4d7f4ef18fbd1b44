package ui

import (
	"encoding/json"
	"fmt"
	"io"
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
	lines := append([][]string{r.Header}, r.Rows...)
	widths := make([]int, len(r.Header))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], cells(clean(cell)))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString(pad(clean(cell), widths[i]))
			b.WriteString("   ")
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
