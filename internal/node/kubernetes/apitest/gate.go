package apitest

import (
	"io"
	"net"
	"sync"
)

// Gate is a TCP relay in front of a server, for tests of what happens on the way to it. It begins by passing everything on.
type Gate struct {
	Addr string // HOST:PORT to connect to

	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	mode    gateMode
	links   map[*link]struct{}
	changed chan struct{} // closed by the next change of mode
}

type gateMode int

const (
	passing gateMode = iota
	silent
	resetting
)

// link is one connection through the gate.
type link struct {
	in, out   net.Conn
	forgotten bool // nothing passes any more
}

// NewGate opens a gate to the server at an address, until Close.
func NewGate(to string) (*Gate, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{Addr: listener.Addr().String(), to: to, listener: listener, links: map[*link]struct{}{}, changed: make(chan struct{})}
	g.running.Go(g.accept)
	return g, nil
}

// Pass lets everything through again. Bytes that were held go on.
func (g *Gate) Pass() { g.set(passing) }

// Silence keeps connections, the ones there are and new ones, and passes nothing on.
func (g *Gate) Silence() { g.set(silent) }

// Reset ends every connection, the ones there are and new ones, with a TCP reset.
func (g *Gate) Reset() { g.set(resetting) }

// Close closes the port, so that connections are refused, and ends those there are.
func (g *Gate) Close() error {
	err := g.listener.Close()
	g.set(resetting)
	g.running.Wait()
	return err
}

// Forget makes the connections there are silent for good, while new ones pass: a load balancer that lost what it knew of them.
func (g *Gate) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.links {
		l.forgotten = true
	}
}

func (g *Gate) set(mode gateMode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = mode
	close(g.changed)
	g.changed = make(chan struct{})
	if mode != resetting {
		return
	}
	for l := range g.links {
		abort(l.in)
		abort(l.out)
	}
}

// abort closes a connection by a reset.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it ends in order, which is a test of something else
	}
	_ = c.Close()
}

func (g *Gate) accept() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.to)
		if err != nil {
			abort(in)
			continue
		}
		l := &link{in: in, out: out}
		if !g.add(l) {
			abort(in)
			abort(out)
			continue
		}
		g.running.Go(func() { g.relay(l, out, in) })
		g.running.Go(func() { g.relay(l, in, out) })
	}
}

// add says whether a connection may stay.
func (g *Gate) add(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mode == resetting {
		return false
	}
	g.links[l] = struct{}{}
	return true
}

// relay copies one direction of a connection, and ends both with it.
func (g *Gate) relay(l *link, to, from net.Conn) {
	_, _ = io.Copy(gatedWriter{to, g, l}, from)
	g.mu.Lock()
	delete(g.links, l)
	g.mu.Unlock()
	_ = from.Close()
	_ = to.Close()
}

// gatedWriter is one end of a connection.
type gatedWriter struct {
	io.Writer
	gate *Gate
	link *link
}

// Write waits until bytes may pass.
func (w gatedWriter) Write(p []byte) (int, error) {
	for {
		w.gate.mu.Lock()
		mode, forgotten, changed := w.gate.mode, w.link.forgotten, w.gate.changed
		w.gate.mu.Unlock()
		if mode == resetting || mode == passing && !forgotten {
			return w.Writer.Write(p)
		}
		<-changed
	}
}
