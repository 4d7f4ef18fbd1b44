package kube

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestGate runs commands behind the gate in a real shell.
func TestGate(t *testing.T) {
	t.Parallel()
	type result struct {
		Out, Err string
		Code     int
		Opened   int
	}
	for _, c := range []struct {
		name    string
		command []string
		stdin   io.Reader
		want    result
	}{
		{"no input", []string{"echo", "a  b", "$HOME"}, nil, result{Out: "a  b $HOME\n", Opened: 1}},
		{"input is the command's, to the byte", []string{"cat"}, strings.NewReader("\n\none\x00two\r\nlast"), result{Out: "\n\none\x00two\r\nlast", Opened: 1}},
		{"input in small pieces", []string{"cat"}, iotest.OneByteReader(strings.NewReader("abc\n")), result{Out: "abc\n", Opened: 1}},
		{"both streams and the code", []string{"sh", "-c", "printf out; printf err >&2; exit 7"}, nil, result{Out: "out", Err: "err", Code: 7, Opened: 1}},
		{"no such program", []string{"/nosuch"}, nil, result{Err: "not found", Code: 127, Opened: 1}},
		{"no variable of the gate's", []string{"sh", "-c", "env | grep -c -e perch_gate -e OLDPWD"}, nil, result{Out: "0\n", Code: 1, Opened: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, stderr bytes.Buffer
			var got result
			g := newGate(&out, func() { got.Opened++ })
			command := gated(c.command)
			cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = g.input(t.Context(), c.stdin), g, &stderr
			if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Fatal(err)
			}
			g.flush()
			got.Out, got.Err, got.Code = out.String(), stderr.String(), cmd.ProcessState.ExitCode()
			if c.want.Code == 127 && strings.Contains(got.Err, "not found") {
				got.Err = "not found" // the rest is the shell's own wording
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestGateWords reads the gate's words as terminals and networks give them.
func TestGateWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		flush          bool
	}{
		{"a terminal echoes our lines and ends its own with CR LF", "\r\nperch: the gate hears\r\n\r\nperch: the gate opens\r\n/ # ", "/ # ", false},
		{"only the second word comes", "perch: the gate opens\nx", "x", false},
		{"the gate never opens", "sh: it broke\n", "sh: it broke\n", true},
		{"nothing of a gate that opened is told twice", "perch: the gate opens\nx", "x", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 3, len(c.in)} {
				var out bytes.Buffer
				g := newGate(&out, func() {})
				for rest := c.in; rest != ""; {
					n := min(size, len(rest))
					if _, err := io.WriteString(g, rest[:n]); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if c.flush {
					g.flush()
				}
				if diff := cmp.Diff(c.want, out.String()); diff != "" {
					t.Errorf("in pieces of %d: -want +got:\n%s", size, diff)
				}
			}
		})
	}
}

// TestGateAttempts sees that an attempt to attach that fails takes nothing of the input.
func TestGateAttempts(t *testing.T) {
	t.Parallel()
	g := newGate(io.Discard, func() {})
	stdin := strings.NewReader("for the command")
	first, fail := context.WithCancel(t.Context())
	in := g.input(first, stdin)
	if data, err := io.ReadAll(io.LimitReader(in, 1)); err != nil || string(data) != "\n" {
		t.Fatalf("read %q, %v", data, err)
	}
	fail()
	if n, err := in.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d, %v after the attempt failed", n, err)
	}
	if _, err := io.WriteString(g, gateHeard+gateOpen); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(g.input(t.Context(), stdin))
	if err != nil || string(data) != "\nfor the command" {
		t.Errorf("read %q, %v", data, err)
	}
}
