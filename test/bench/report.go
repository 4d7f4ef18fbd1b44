package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// report is all figures of a run, in the order in which they were first taken.
type report struct {
	Rounds   int       `json:"rounds"`
	Figures  []*figure `json:"figures"`
	Ratios   []ratio   `json:"ratios,omitempty"`
	Failures []string  `json:"failures,omitempty"`
}

// figure is one thing that was measured several times.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"` // s, MB, % or "" for a count
	Median float64   `json:"median"`
	Values []float64 `json:"values"` // in the order in which they were taken
}

func (r *report) add(name, unit string, value float64) {
	at := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == name })
	if at < 0 {
		r.Figures = append(r.Figures, &figure{Name: name, Unit: unit})
		at = len(r.Figures) - 1
	}
	f := r.Figures[at]
	f.Values = append(f.Values, value)
	f.Median = median(f.Values)
}

// ratio is how many times as much one figure is as another of the same run, by their medians.
type ratio struct {
	Name  string  `json:"name"`
	Than  string  `json:"than"`
	Times float64 `json:"times"`
}

// compare adds how many times as much as the one figure the other is, when both were taken in this run.
func (r *report) compare(one, other string) {
	a := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == one })
	b := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == other })
	if a >= 0 && b >= 0 && r.Figures[a].Median > 0 {
		r.Ratios = append(r.Ratios, ratio{Name: other, Than: one, Times: r.Figures[b].Median / r.Figures[a].Median})
	}
}

func (r *report) seconds(name string, d time.Duration) { r.add(name, "s", d.Seconds()) }
func (r *report) megabytes(name string, bytes int64)   { r.add(name, "MB", float64(bytes)/1e6) }
func (r *report) percent(name string, value float64)   { r.add(name, "%", value) }
func (r *report) count(name string, n int)             { r.add(name, "", float64(n)) }
func (r *report) fail(name string, err error) {
	if err != nil {
		r.Failures = append(r.Failures, fmt.Sprintf("%s: %v", name, err))
	}
}

func (r *report) failure() error {
	var errs []error
	for _, f := range r.Failures {
		errs = append(errs, errors.New(f))
	}
	return errors.Join(errs...)
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (r *report) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "WHAT\tMEDIAN\tLEAST\tMOST\tTIMES")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\n", f.Name, f.show(f.Median), f.show(slices.Min(f.Values)), f.show(slices.Max(f.Values)), len(f.Values))
	}
	if len(r.Ratios) > 0 {
		fmt.Fprintln(t, "\t\t\t\t")
	}
	for _, one := range r.Ratios {
		fmt.Fprintf(t, "%s\t%.1f times\t\t\t\n", one.Name, one.Times)
	}
	_ = t.Flush() // goes to a terminal
}

func (f *figure) show(value float64) string {
	switch f.Unit {
	case "s":
		return fmt.Sprintf("%.2f s", value)
	case "MB", "%":
		return fmt.Sprintf("%.1f %s", value, f.Unit)
	}
	return fmt.Sprintf("%.0f", value)
}

func (r *report) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
