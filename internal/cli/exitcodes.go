package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// exitInterrupted is 128 + SIGINT, as shells have it.
const exitInterrupted = 130

// exitCode is one published exit code. They are an interface: a number is never given another meaning.
type exitCode struct {
	code    int
	kind    fault.Kind // of the errors that end with it
	name    string     // of the kind, in JSON errors
	meaning string
}

// exitCodes are all codes that errors end with, in order of their numbers.
func exitCodes() []exitCode {
	return []exitCode{
		{1, fault.Other, "failed", "it failed, for a reason without a code of its own"},
		{2, fault.Usage, "usage", "wrong flags or arguments"},
		{10, fault.Build, "build", "an image did not build"},
		{11, fault.ComposeFile, "compose-file", "the Compose file is missing or wrong"},
		{12, fault.Migration, "migration", "a pre_start job failed; the previous version serves on"},
		{13, fault.Rollout, "rollout", "the rollout failed; the previous version serves on"},
		{14, fault.RolledBack, "rolled-back", "the rollout failed and was taken back"},
		{15, fault.Unreachable, "unreachable", "no cluster answers"},
		{16, fault.Locked, "locked", "another run holds the lock"},
		{17, fault.WrongCluster, "wrong-cluster", "the context points at another cluster than before"},
		{18, fault.Proof, "proof", "requests failed during the rollout"},
	}
}

// exitText is the table of exit codes for `perch help exit-codes`.
func exitText() string {
	var b strings.Builder
	line := func(code int, meaning string) { fmt.Fprintf(&b, "%5d  %s\n", code, meaning) }
	line(0, "ok: done, or nothing was to be done")
	for _, c := range exitCodes() {
		line(c.code, c.meaning)
	}
	line(exitInterrupted, "interrupted by Ctrl-C or a termination signal")
	return b.String()
}

// commandExit is the exit code of a command that ran for the user (exec, run, kubectl, helm): Perch passes it on and
// has nothing to add.
type commandExit int

func (c commandExit) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// explainedExit is a command's own exit code together with why, for a command that could not even start.
type explainedExit struct {
	error
	code int
}

func (e explainedExit) Unwrap() error { return e.error }

// codeOf is the published code of an error.
func codeOf(err error) exitCode {
	kind := fault.KindOf(err)
	if _, ok := errors.AsType[compose.Problems](err); ok && kind == fault.Other {
		kind = fault.ComposeFile
	}
	codes := exitCodes()
	for _, c := range codes {
		if c.kind == kind {
			return c
		}
	}
	return codes[0]
}
