package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/ui"
)

// failure is an error as it is printed. Its JSON form is what `-o json` prints, on stderr.
type failure struct {
	Message  string        `json:"message"`
	Kind     string        `json:"kind"`
	ExitCode int           `json:"exitCode"`
	Hint     string        `json:"hint,omitempty"`
	Output   []string      `json:"output,omitempty"`   // the last lines of what failed
	Problems []problemJSON `json:"problems,omitempty"` // of the Compose file
}

type problemJSON struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	text string // as people read it: file:line: message
}

// fail prints err and answers its exit code. It is the only place that prints errors.
func (a *app) fail(cmd *cobra.Command, err error, interrupted bool) int {
	if code, ok := errors.AsType[commandExit](err); ok {
		return int(code)
	}
	if !a.started {
		err = usageError(cmd, err)
	}
	var failures []failure
	for _, one := range joined(err) {
		failures = append(failures, failureOf(one))
	}
	if interrupted {
		f := &failures[0]
		f.Kind, f.ExitCode = "interrupted", exitInterrupted
		if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) {
			*f = failure{Message: errInterrupted.Error(), Kind: f.Kind, ExitCode: f.ExitCode}
		}
	}
	if a.globals.output == ui.FormatJSON {
		a.printJSON(failures)
	} else {
		for _, f := range failures {
			a.printText(f)
		}
	}
	if e, ok := errors.AsType[explainedExit](err); ok {
		return e.code
	}
	return failures[0].ExitCode
}

// joined are the errors that several things that failed side by side were joined from, the first deciding the exit code.
func joined(err error) []error {
	list, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // only the outermost error may be taken apart
	if !ok || len(list.Unwrap()) == 0 || strings.Count(err.Error(), "\n") < len(list.Unwrap())-1 {
		return []error{err}
	}
	var all []error
	for _, one := range list.Unwrap() {
		all = append(all, joined(one)...)
	}
	return all
}

func failureOf(err error) failure {
	code := codeOf(err)
	f := failure{Message: err.Error(), Kind: code.name, ExitCode: code.code, Hint: fault.HintOf(err)}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		f.Output = e.Output
	}
	if problems, ok := errors.AsType[compose.Problems](err); ok {
		for _, p := range problems {
			f.Problems = append(f.Problems, jsonOf(p))
		}
	}
	return f
}

// usageError makes an error that cobra found before any command ran one of usage, with the help to read.
func usageError(cmd *cobra.Command, err error) error {
	if fault.KindOf(err) != fault.Other {
		return err
	}
	return fault.New(fault.Usage, cmd.CommandPath()+" --help", "%w", err)
}

func (a *app) printJSON(failures []failure) {
	data, err := json.Marshal(struct {
		Error failure   `json:"error"`
		More  []failure `json:"more,omitempty"` // of things that failed side by side
	}{failures[0], failures[1:]})
	if err != nil {
		a.printText(failures[0])
		return
	}
	_, _ = fmt.Fprintf(a.env.Err, "%s\n", data)
}

func (a *app) printText(f failure) {
	var b strings.Builder
	colors := a.globals.color.Colors(a.env.around(a.env.Err))
	word := func(style, word, text string) {
		if colors {
			word = style + word + "\x1b[0m"
		}
		for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
			if i == 0 {
				fmt.Fprintf(&b, "%s %s\n", word, line)
				continue
			}
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	const red, cyan = "\x1b[1;31m", "\x1b[36m"
	const room = len("error: ")
	for _, p := range f.Problems {
		word(red, "error:", a.folded(p.text, room))
		if p.Hint != "" {
			word(cyan, "hint:", p.Hint)
		}
	}
	if len(f.Problems) == 0 {
		word(red, "error:", a.folded(f.Message, room)) // a hint is not folded: it has commands to be copied
	}
	if len(f.Output) > 0 && !a.showed(f.Output[len(f.Output)-1]) {
		for _, line := range f.Output {
			fmt.Fprintf(&b, "    %s\n", ui.Clean(line))
		}
	}
	if f.Hint != "" {
		word(cyan, "hint:", f.Hint)
	}
	_, _ = fmt.Fprint(a.env.Err, b.String())
}

func jsonOf(p compose.Problem) problemJSON {
	return problemJSON{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Hint: p.Hint, text: p.String()}
}

// warn reports what a Compose file says that is carried only in part. It goes the way of all progress, so that whoever
// reads JSON lines or a quiet log finds it there too.
func (a *app) warn(problems compose.Problems) {
	if len(problems) == 0 {
		return
	}
	r := a.progress()
	for _, p := range problems {
		at := p.File
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		text := p.Message
		if p.Hint != "" {
			text += " (" + p.Hint + ")"
		}
		r.Report(progress.Event{ID: orElse(at, "compose"), Status: progress.Warned, Text: text})
	}
}
