// Package cli is the command line: one file a command, each of which turns its flags into options and makes one call.
// It alone reads the environment, the working directory and the terminal, prints results and errors, asks questions
// and chooses the exit code. It knows nothing of how things are done.
//
// Who writes where: a command's result goes to Env.Out. Progress, warnings, questions and errors go to Env.Err; while a
// ui.Display is open, only through it.
package cli

import (
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/perch-k8s/perch/internal/ui"
)

// Env is everything a command takes from the process it runs in.
type Env struct {
	In         io.Reader
	Out, Err   io.Writer
	Environ    []string // as os.Environ
	WorkDir    string   // absolute
	Executable string   // path of this program, which starts itself again as the node
	Version    string   // of Perch; "" is what Go's build wrote down
	Now        func() time.Time

	Interrupts  <-chan os.Signal // the first cancels, the second exits; nil: none come
	FreeSignals func()           // gives signals back to the process, for commands that live by them; may be nil
	ExitAtOnce  func(code int)   // ends the process, after the second interrupt
}

// getenv is the value of a variable, "" when it is not set. The last one counts, as for os.Getenv's callers.
func (e Env) getenv(name string) string {
	value, _ := e.lookup(name)
	return value
}

func (e Env) lookup(name string) (string, bool) {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if key, value, ok := strings.Cut(e.Environ[i], "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// variables is the environment as a map.
func (e Env) variables() map[string]string {
	m := make(map[string]string, len(e.Environ))
	for _, entry := range e.Environ {
		if key, value, ok := strings.Cut(entry, "="); ok {
			m[key] = value
		}
	}
	return m
}

// around says what the environment and a stream are like, for the choice of a renderer and of colours.
func (e Env) around(stream any) ui.Surroundings {
	return ui.Surroundings{
		Terminal: isTerminal(stream),
		Term:     e.getenv("TERM"),
		NoColor:  e.getenv("NO_COLOR"),
		CI:       e.getenv("CI"),
	}
}

// descriptor is the file descriptor behind a stream, and whether there is one.
func descriptor(stream any) (int, bool) {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	return int(f.Fd()), true
}

func isTerminal(stream any) bool {
	fd, ok := descriptor(stream)
	return ok && term.IsTerminal(fd)
}

// terminalSize is the size of the terminal behind a stream, 80 x 24 when it cannot be asked.
func terminalSize(stream any) (width, height int) {
	if fd, ok := descriptor(stream); ok {
		if w, h, err := term.GetSize(fd); err == nil {
			return w, h
		}
	}
	return 80, 24
}
