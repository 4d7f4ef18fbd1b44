package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// gate is a relay on a way to a server, that a test can close, jam, or break after so many bytes.
type gate struct {
	address string // where it listens; "HOST:PORT"
	listen  func(ctx context.Context, address string) (net.Listener, error)
	dial    func(ctx context.Context) (net.Conn, error)

	mu       sync.Mutex
	listener net.Listener
	jammed   bool
	budget   int64 // bytes that clients may still send; negative: as many as they like
	breaks   int   // how often a connection is to be cut when the budget is used up; the budget then begins anew
	each     int64 // the budget of one break
	conns    map[net.Conn]bool
	open     sync.WaitGroup
}

// newGate opens a gate at the address; with port 0, at a free one.
func newGate(
	t *testing.T, address string, listen func(ctx context.Context, address string) (net.Listener, error), dial func(ctx context.Context) (net.Conn, error),
) *gate {
	t.Helper()
	g := &gate{address: address, listen: listen, dial: dial, budget: -1, conns: map[net.Conn]bool{}}
	g.reopen(t)
	t.Cleanup(func() {
		g.shut()
		g.open.Wait()
	})
	return g
}

// reopen lets everything pass again.
func (g *gate) reopen(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.jammed, g.budget, g.breaks = false, -1, 0
	if g.listener != nil {
		return
	}
	l, err := g.listen(context.WithoutCancel(t.Context()), g.address)
	if err != nil {
		t.Fatal(err)
	}
	g.listener, g.address = l, l.Addr().String()
	g.open.Go(func() { g.serve(l) })
}

// shut refuses connections, and cuts those there are.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		_ = g.listener.Close()
		g.listener = nil
	}
	g.cutAll()
}

// jam takes connections, cuts those there are, and passes nothing on.
func (g *gate) jam() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.jammed = true
	g.cutAll()
}

// breakAfter cuts a connection when clients have sent so many bytes more, as often as it says.
func (g *gate) breakAfter(bytes int64, times int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.budget, g.each, g.breaks = bytes, bytes, times
}

// cutAll ends all connections as a lost one ends: without a farewell.
func (g *gate) cutAll() {
	for c := range g.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (g *gate) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			g.open.Go(func() { g.join(c) })
		}
	}
}

func (g *gate) join(client net.Conn) {
	defer g.forget(client)
	if !g.keep(client) { // it waits for what never comes
		_, _ = io.Copy(io.Discard, client)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server, err := g.dial(ctx)
	if err != nil {
		return
	}
	defer g.forget(server)
	g.keep(server)
	var both sync.WaitGroup
	both.Go(func() { halfCopy(server, metered{client, g}) })
	both.Go(func() { halfCopy(client, server) })
	both.Wait()
}

// keep remembers a connection, and says whether anything passes.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = true
	return !g.jammed
}

func (g *gate) forget(c net.Conn) {
	_ = c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func halfCopy(to net.Conn, from io.Reader) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// metered is what a client sends.
type metered struct {
	net.Conn
	gate *gate
}

var errCut = errors.New("cut")

func (m metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.gate.mu.Lock()
	defer m.gate.mu.Unlock()
	if m.gate.budget < 0 || m.gate.breaks == 0 {
		return n, err
	}
	if m.gate.budget -= int64(n); m.gate.budget < 0 {
		m.gate.breaks--
		m.gate.budget = m.gate.each
		m.gate.cutAll()
		return 0, errCut
	}
	return n, err
}
