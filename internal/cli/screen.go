package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/ui"
)

// screen holds the one open Display. The interrupt's goroutine asks for it too.
type screen struct {
	mu      sync.Mutex
	display *ui.Display
	gentle  bool // an interrupt is the expected end of what runs, and needs no words
}

// progress is the Reporter of this run. It is opened at the first call, so that commands without progress draw nothing.
func (a *app) progress() progress.Reporter {
	a.screen.mu.Lock()
	defer a.screen.mu.Unlock()
	if a.screen.display == nil {
		around := a.env.around(a.env.Err)
		a.screen.display = ui.New(ui.Options{
			Mode:  a.globals.mode().Resolve(around),
			Out:   a.env.Err,
			Color: a.globals.color.Colors(around),
			Size:  func() (int, int) { return terminalSize(a.env.Err) },
			Now:   a.env.Now,
		})
	}
	return a.screen.display
}

// closeProgress draws the end of the progress. Afterwards the terminal is the command's again.
func (a *app) closeProgress() {
	a.screen.mu.Lock()
	display := a.screen.display
	a.screen.mu.Unlock()
	if display != nil {
		display.Close()
	}
}

// closeProgressWithin is closeProgress that gives up on a terminal that takes nothing, as after Ctrl-S.
func (a *app) closeProgressWithin(limit time.Duration) {
	closed := make(chan struct{})
	go func() {
		a.closeProgress()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(limit):
	}
}

// showed says whether the progress has shown a line of output already.
func (a *app) showed(line string) bool {
	a.screen.mu.Lock()
	display := a.screen.display
	a.screen.mu.Unlock()
	return display != nil && display.Showed(line)
}

// endsWithInterrupt says that Ctrl-C is the expected end from here on.
func (a *app) endsWithInterrupt() { a.setGentle(true) }

func (a *app) setGentle(gentle bool) {
	a.screen.mu.Lock()
	defer a.screen.mu.Unlock()
	a.screen.gentle = gentle
}

func (a *app) sayInterrupted() {
	const text = "interrupted: stopping; a second Ctrl-C quits at once"
	a.screen.mu.Lock()
	defer a.screen.mu.Unlock()
	switch {
	case a.screen.gentle:
	case a.screen.display != nil:
		a.screen.display.Message(text)
	default:
		_, _ = fmt.Fprintln(a.env.Err, text)
	}
}

// note prints a line for people that is not a result. Those who asked for JSON lines have the events.
func (a *app) note(format string, args ...any) {
	if mode := a.globals.mode(); mode == ui.Quiet || mode == ui.JSON {
		return
	}
	_, _ = fmt.Fprintln(a.env.Err, a.folded(fmt.Sprintf(format, args...), 0))
}

// folded is a text for people, as it goes to stderr after a word of some columns: a terminal tears lines that are too long for
// it within words.
func (a *app) folded(text string, after int) string {
	if !isTerminal(a.env.Err) {
		return text
	}
	width, _ := terminalSize(a.env.Err)
	return ui.Fold(text, width-after)
}

// confirm asks before data is destroyed. what says what would be. Without a terminal to ask on, --yes must be there.
func (a *app) confirm(ctx context.Context, what string) error {
	if a.globals.yes {
		return nil
	}
	if !a.canAsk() {
		return fault.New(fault.Usage, "add --yes when that is what you want", "%s: not done without a yes", what)
	}
	answer, err := a.ask(ctx, what+". Go on? [y/N] ")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return fault.New(fault.Other, "", "not confirmed: nothing was changed")
	}
	return nil
}

// canAsk tells whether somebody is there to answer a question.
func (a *app) canAsk() bool {
	return !a.globals.noInput && isTerminal(a.env.In) && isTerminal(a.env.Err)
}

// ask asks a question on the terminal and is its answer, without space around it.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	a.endsWithInterrupt() // nothing has begun that would have to be stopped
	_, _ = fmt.Fprint(a.env.Err, question)
	answer := make(chan string, 1)
	go func() { // it may outlive the question, until its Read ends: a terminal's Read cannot be cancelled
		line, _ := bufio.NewReader(a.env.In).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(a.env.Err)
		return "", context.Cause(ctx)
	case line := <-answer:
		a.setGentle(false)
		return line, nil
	}
}
