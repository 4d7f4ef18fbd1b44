package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

// explanation is the answer of config --explain.
type explanation struct {
	Attributes []explained      `json:"attributes"`
	Becomes    []up.Destination `json:"becomes"` // fields of Kubernetes objects that are so because of the key
}

// explained is one attribute of the Compose file.
type explained struct {
	Path    string `json:"path"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Verdict string `json:"verdict"` // carried, in part, ignored or refused
	Note    string `json:"note,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// explain prints where a key of the Compose file stands, what becomes of it, and which fields of objects it decides.
func (a *app) explain(ctx context.Context, key string) error {
	o := a.upOptions(nil)
	rewind := func() {}
	if slices.Contains(a.globals.files, "-") { // the file is read several times
		content, err := io.ReadAll(a.env.In)
		if err != nil {
			return err
		}
		stdin := bytes.NewReader(content)
		o.Compose.Stdin = stdin
		rewind = func() { _, _ = stdin.Seek(0, io.SeekStart) } // it is in memory
	}
	all, err := compose.Explain(ctx, o.Compose, key)
	if err != nil {
		return err
	}
	answer := explanation{Attributes: []explained{}, Becomes: []up.Destination{}}
	for _, e := range all {
		answer.Attributes = append(answer.Attributes, explained{e.Path, e.File, e.Line, e.Verdict.String(), e.Note, e.Hint})
	}
	if !slices.ContainsFunc(all, func(e compose.Explanation) bool { return e.Verdict == compose.Refused }) {
		becomes, err := up.Destinations(ctx, o, key, rewind)
		if err != nil {
			return err
		}
		answer.Becomes = append(answer.Becomes, becomes...)
	}
	a.closeProgress()
	if a.globals.output != ui.FormatDefault {
		return a.result(ui.Result{Value: answer, Names: paths(answer)})
	}
	a.sayExplained(answer)
	return nil
}

func paths(answer explanation) []string {
	names := make([]string, 0, len(answer.Attributes))
	for _, e := range answer.Attributes {
		names = append(names, e.Path)
	}
	return names
}

// sayExplained prints an explanation for people.
func (a *app) sayExplained(answer explanation) {
	for _, e := range answer.Attributes {
		text := e.Verdict
		if e.Note != "" {
			text += ": " + e.Note
		}
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
		a.say("%s:%d: %s: %s", e.File, e.Line, e.Path, text)
	}
	for _, d := range answer.Becomes {
		if d.Absent {
			a.say("%s", strings.TrimRight(fmt.Sprintf("  no %s  %s", d.Object, d.Field), " "))
			continue
		}
		a.say("%s", strings.TrimRight(fmt.Sprintf("  %s  %s", d.Object, d.Field), " "))
	}
}
