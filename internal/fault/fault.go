// Package fault is an error with its three parts apart: what failed and why (the error), what to do about it (the
// hint), and the kind that decides the exit code. Stages return it; only package cli prints it. It imports nothing
// of ours.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what sort of failure it was. The exit codes are given by package cli (../../docs/reference/exit-codes.md).
type Kind int

// The kinds of failure, one for each exit code a user can act on.
const (
	Other        Kind = iota // anything else: exit code 1
	Usage                    // wrong flags or arguments: 2
	Build                    // an image did not build: 10
	ComposeFile              // the Compose file is wrong: 11
	Migration                // a pre_start job failed; the previous version serves: 12
	Rollout                  // a rollout failed; the previous version serves: 13
	RolledBack               // a rollout failed and was taken back: 14
	Unreachable              // no cluster answers: 15
	Locked                   // another run holds the lock: 16
	WrongCluster             // the context points at another cluster than before: 17
	Proof                    // requests failed during a rollout: 18
)

// Error is a failure with its hint. Err says what failed, by name, and why; Hint is a command or a line to change.
type Error struct {
	Kind   Kind
	Err    error
	Hint   string
	Output []string // the last lines that the failing thing printed, for the end of the report
}

// New is an Error whose text is made as fmt.Errorf does, %w included.
func New(kind Kind, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...), Hint: hint}
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of the first Error in err's tree, Other when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}

// HintOf is the hint of the first Error in err's tree, "" when there is none.
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
