package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String is the complaint as compilers print theirs: file:line: message.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Error is every complaint, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// findings collects problems and warnings while a project is read.
type findings struct {
	problems Problems
	warnings Problems
}

func (f *findings) problem(at position, message, hint string) {
	f.problems = append(f.problems, at.problem(message, hint))
}

func (f *findings) warn(at position, message, hint string) {
	f.warnings = append(f.warnings, at.problem(message, hint))
}

// position is a place in a Compose file.
type position struct {
	file  string // as it is shown
	order int    // of the file among those read, so that complaints come in file order
	line  int
	col   int
	path  string // as services.web.ports[0]
}

func (p position) problem(message, hint string) Problem {
	return Problem{File: p.file, Line: p.line, Column: p.col, Path: p.path, Message: message, Hint: hint, order: p.order}
}

// sorted is p in file order, each complaint once.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.order, b.order),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(p, func(a, b Problem) bool {
		return a.File == b.File && a.Line == b.Line && a.Message == b.Message
	})
}
