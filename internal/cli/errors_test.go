package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/ui"
)

// TestExitCodes sees that each kind of failure has the one code that is published for it.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for kind, want := range map[fault.Kind]int{
		fault.Other: 1, fault.Usage: 2, fault.Build: 10, fault.ComposeFile: 11, fault.Migration: 12, fault.Rollout: 13,
		fault.RolledBack: 14, fault.Unreachable: 15, fault.Locked: 16, fault.WrongCluster: 17, fault.Proof: 18,
	} {
		if got := codeOf(fmt.Errorf("x: %w", fault.New(kind, "", "y"))); got.code != want || got.kind != kind {
			t.Errorf("kind %d: code %d, want %d", kind, got.code, want)
		}
	}
	if got := codeOf(compose.Problems{{Message: "x"}}).code; got != 11 {
		t.Errorf("problems: code %d, want 11", got)
	}
	if got := codeOf(errors.New("x")).code; got != 1 {
		t.Errorf("any other error: code %d, want 1", got)
	}
}

// failing is an app whose commands' stderr can be read.
func failing(output ui.Format) (*app, *strings.Builder) {
	var b strings.Builder
	a := &app{env: Env{Out: io.Discard, Err: &b, Now: time.Now}, globals: newGlobals(), started: true}
	a.globals.output = output
	return a, &b
}

func TestErrors(t *testing.T) {
	t.Parallel()
	build := fault.New(fault.Build, "look at Dockerfile:7", "image web: %w", errors.New("exit code 2"))
	build.Output = []string{"main.go:3: undefined: x", "exit status 1"}
	cmd := &cobra.Command{Use: "perch"}
	for _, c := range []struct {
		name        string
		err         error
		format      ui.Format
		interrupted bool
		code        int
		want        string
	}{
		{"plain", errors.New("no such thing"), "", false, 1, "error: no such thing\n"},
		{"with output and hint", build, "", false, 10,
			"error: image web: exit code 2\n    main.go:3: undefined: x\n    exit status 1\nhint: look at Dockerfile:7\n"},
		{"output that moves the cursor", &fault.Error{Err: errors.New("x"), Output: []string{"10%\r\x1b[2J\x1b[31mred"}}, "", false, 1,
			"error: x\n    red\n"},
		{"several lines", errors.New("first\nsecond"), "", false, 1, "error: first\n  second\n"},
		{"side by side", errors.Join(fault.New(fault.Rollout, "perch logs web", "service web: x"), fault.New(fault.Migration, "", "service api: y")),
			"", false, 13, "error: service web: x\nhint: perch logs web\nerror: service api: y\n"},
		{"problems", compose.Problems{{File: "compose.yaml", Line: 4, Message: `unknown key "prots"`, Hint: `did you mean "ports"?`},
			{File: "compose.yaml", Message: "no services"}}, "", false, 11,
			"error: compose.yaml:4: unknown key \"prots\"\nhint: did you mean \"ports\"?\nerror: compose.yaml: no services\n"},
		{"json", build, ui.FormatJSON, false, 10, `{"error":{"message":"image web: exit code 2","kind":"build","exitCode":10,` +
			`"hint":"look at Dockerfile:7","output":["main.go:3: undefined: x","exit status 1"]}}` + "\n"},
		{"interrupted", fmt.Errorf("waiting: %w", context.Canceled), "", true, 130, "error: interrupted\n"},
		{"interrupted, another error", build, "", true, 130,
			"error: image web: exit code 2\n    main.go:3: undefined: x\n    exit status 1\nhint: look at Dockerfile:7\n"},
		{"exit code of a command", commandExit(42), "", false, 42, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, out := failing(c.format)
			if got := a.fail(cmd, c.err, c.interrupted); got != c.code {
				t.Errorf("code %d, want %d", got, c.code)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestInterrupts plays the two signals: the first cancels and says so, the second ends the process.
func TestInterrupts(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	signals, exits := make(chan os.Signal), make(chan int, 1)
	a := &app{env: Env{Err: &b, Now: time.Now, Interrupts: signals, ExitAtOnce: func(code int) { exits <- code }}, globals: newGlobals()}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := a.watchInterrupts(cancel)
	signals <- os.Interrupt
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	if want := "interrupted: stopping; a second Ctrl-C quits at once\n"; b.String() != want {
		t.Errorf("said %q, want %q", b.String(), want)
	}
	signals <- syscall.SIGTERM
	if code := <-exits; code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	stop()
}

// TestInterruptExpected: where Ctrl-C is how one ends it, nothing is said.
func TestInterruptExpected(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	signals := make(chan os.Signal)
	a := &app{env: Env{Err: &b, Now: time.Now, Interrupts: signals}, globals: newGlobals()}
	a.endsWithInterrupt()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := a.watchInterrupts(cancel)
	signals <- os.Interrupt
	<-ctx.Done()
	stop()
	if b.Len() > 0 {
		t.Errorf("said %q", b.String())
	}
}

// TestInterruptedCommand runs a whole command line that waits until it is interrupted while it shows progress.
func TestInterruptedCommand(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	a := &app{env: Env{Err: &b, Out: io.Discard, Now: time.Now}, globals: newGlobals()}
	ctx, cancel := context.WithCancelCause(t.Context())
	c := a.command(&cobra.Command{Use: "wait", SilenceErrors: true, SilenceUsage: true}, func(ctx context.Context, _ []string) error {
		a.progress().Report(progress.Event{ID: "cluster", Status: progress.Working, Text: "starting"})
		a.sayInterrupted()
		cancel(errInterrupted)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	c.SetArgs(nil)
	cmd, err := c.ExecuteContextC(ctx)
	a.closeProgress()
	if code := a.fail(cmd, err, true); code != 130 {
		t.Errorf("code %d, want 130", code)
	}
	want := "cluster: starting\ninterrupted: stopping; a second Ctrl-C quits at once\nerror: interrupted\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	a, _ := failing("")
	a.env.In = strings.NewReader("y\n") // not a terminal: not asked
	err := a.confirm(t.Context(), "delete it")
	if fault.KindOf(err) != fault.Usage {
		t.Errorf("without a terminal: %v", err)
	}
	a.globals.yes = true
	if err := a.confirm(t.Context(), "delete it"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}
