package kube

import (
	"bytes"
	"context"
	"io"
	"sync"

	"k8s.io/client-go/tools/remotecommand"
)

// A container begins when the node likes, and what it prints before somebody is attached is in its log only, without the
// parts of lines, as a prompt, and with both streams in one. So what runs by RunOnce waits behind a gate, a shell that is
// then replaced by the command: it says that it is there once somebody writes a line to it, and goes on with the second
// line, which is written when that word has come back. From there on nothing of either stream can be lost.
//
//	us                            the container
//	 | -- "\n" (when attached) --> | read
//	 | <-- gateHeard ------------- |
//	 | -- "\n" ------------------> | read
//	 | <-- gateOpen -------------- |
//	 | <=========================> | exec COMMAND
//
// POSIX has read take no byte beyond its line, so that the rest of the input is the command's.
const (
	gateHeard = "perch: the gate hears\n"
	gateOpen  = "perch: the gate opens\n"
	gateShell = `read -r perch_gate; echo "perch: the gate hears"; read -r perch_gate; echo "perch: the gate opens"; unset PWD OLDPWD SHLVL; exec "$@"`
)

// gated is the command behind a gate.
func gated(command []string) []string {
	return append([]string{"/bin/sh", "-c", gateShell, "sh"}, command...)
}

// gate is our end of it, for one container. It outlives attempts to attach that fail.
type gate struct {
	out    io.Writer // what comes after the gate
	opened func()    // called once, before the first byte of the command

	mu    sync.Mutex
	heard chan struct{} // closed at gateHeard or gateOpen
	open  chan struct{} // closed at gateOpen
	held  []byte        // output that may be the gate's
}

func newGate(out io.Writer, opened func()) *gate {
	return &gate{out: out, opened: opened, heard: make(chan struct{}), open: make(chan struct{})}
}

// Write takes the container's output and passes on what follows the gate's words. A terminal ends lines with CR LF and
// echoes our own.
func (g *gate) Write(p []byte) (int, error) {
	select {
	case <-g.open:
		return g.out.Write(p)
	default:
	}
	g.mu.Lock()
	g.held = append(g.held, p...)
	text := bytes.ReplaceAll(g.held, []byte("\r\n"), []byte("\n"))
	heard := bytes.Contains(text, []byte(gateHeard)) || bytes.Contains(text, []byte(gateOpen))
	rest, opens := g.after()
	g.mu.Unlock()
	if heard {
		g.close(g.heard)
	}
	if !opens {
		return len(p), nil
	}
	g.opened()
	g.close(g.open)
	if len(rest) == 0 {
		return len(p), nil
	}
	_, err := g.out.Write(rest)
	return len(p), err
}

// after is what was held after gateOpen, as it came.
func (g *gate) after() (rest []byte, opens bool) {
	word := gateOpen[:len(gateOpen)-1]
	_, rest, opens = bytes.Cut(g.held, []byte(word))
	if !opens {
		return nil, false
	}
	for _, end := range []string{"\r\n", "\n"} {
		if bytes.HasPrefix(rest, []byte(end)) {
			return rest[len(end):], true
		}
	}
	return nil, false // the end of the line has not come yet
}

// flush gives what was held when the gate never opened: a shell that fails says why.
func (g *gate) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		_, _ = g.out.Write(g.held) // the command has failed anyway
	}
}

func (g *gate) close(ch chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-ch:
	default:
		close(ch)
	}
}

// input is what is written to the container in one attempt to attach: a line for the gate, a second one when it has
// heard the first, and the input of the command, which is read by nobody before. stdin nil is none.
func (g *gate) input(ctx context.Context, stdin io.Reader) io.Reader {
	return &gateInput{ctx: ctx, gate: g, stdin: stdin}
}

type gateInput struct {
	ctx   context.Context //nolint:containedctx // Read has no other way to end
	gate  *gate
	stdin io.Reader
	lines int
}

// Read implements io.Reader.
func (i *gateInput) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if i.lines == 0 {
		i.lines++
		p[0] = '\n'
		return 1, nil
	}
	select {
	case <-i.ctx.Done():
		return 0, io.EOF
	case <-i.gate.heard:
	}
	if i.lines == 1 {
		i.lines++
		select {
		case <-i.gate.open: // an attempt before this one wrote it
		default:
			p[0] = '\n'
			return 1, nil
		}
	}
	select {
	case <-i.ctx.Done():
		return 0, io.EOF
	case <-i.gate.open:
	}
	if i.stdin == nil {
		return 0, io.EOF
	}
	return i.stdin.Read(p)
}

// gatedSizes keeps the sizes of the terminal for the attempt to attach that succeeds.
type gatedSizes struct {
	sizeQueue
	heard <-chan struct{}
}

var _ remotecommand.TerminalSizeQueue = gatedSizes{}

// Next waits for the next size; nil ends the queue.
func (q gatedSizes) Next() *remotecommand.TerminalSize {
	select {
	case <-q.ctx.Done():
		return nil
	case <-q.heard:
		return q.sizeQueue.Next()
	}
}
