package network

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// DialFunc connects to a literal address.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

const (
	dialFor    = 2 * time.Second       // how long a refused connection is tried again: a Service between two pods
	dialPause  = 20 * time.Millisecond // between two tries
	udpIdle    = 90 * time.Second      // a UDP client that was silent so long is forgotten
	udpMaxSize = 65535
)

// ForwardTCP takes connections from l and joins each to one made by dial, until l is closed. It returns when every
// connection has ended.
func ForwardTCP(ctx context.Context, l net.Listener, dial DialFunc, address string) {
	eachConn(ctx, l, func(conn net.Conn) { joinTCP(ctx, conn, dial, address) })
}

// eachConn serves every connection that l takes, each by itself, until l is closed or ctx ends. It returns when all are served.
func eachConn(ctx context.Context, l net.Listener, serve func(net.Conn)) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil { // too many files: let some end
			if !sleep(ctx, dialPause) {
				return
			}
			continue
		}
		open.Go(func() { serve(conn) })
	}
}

// joinTCP copies both ways until both sides have ended, and passes half-closes on.
func joinTCP(ctx context.Context, client net.Conn, dial DialFunc, address string) {
	defer func() { _ = client.Close() }()
	server, err := dialPatiently(ctx, dial, address)
	if err != nil {
		resetTCP(client)
		return
	}
	defer func() { _ = server.Close() }()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { copyHalf(server, client) })
	both.Go(func() { copyHalf(client, server) })
	both.Wait()
}

// dialPatiently tries again when the connection is refused: nothing was sent yet, and another pod may answer.
func dialPatiently(ctx context.Context, dial DialFunc, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	for {
		conn, err := dial(ctx, "tcp", address)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) || !sleep(ctx, dialPause) {
			return conn, err
		}
	}
}

// resetTCP lets the client see a refusal, not an empty answer.
func resetTCP(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// ForwardUDP passes datagrams between the clients of c and the address, one socket a client, until c is closed.
func ForwardUDP(ctx context.Context, c net.PacketConn, dial DialFunc, address string) {
	f := &udpForwarder{front: c, clients: map[string]net.Conn{}}
	defer f.end()
	buffer := make([]byte, udpMaxSize)
	for {
		n, client, err := c.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier datagram
		}
		back, err := f.socketOf(ctx, client, dial, address)
		if err != nil {
			continue // as on a wire: the datagram is lost
		}
		_, _ = back.Write(buffer[:n])
		_ = back.SetReadDeadline(time.Now().Add(udpIdle))
	}
}

type udpForwarder struct {
	front   net.PacketConn
	mu      sync.Mutex
	clients map[string]net.Conn
	open    sync.WaitGroup
}

func (f *udpForwarder) socketOf(ctx context.Context, client net.Addr, dial DialFunc, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if back, ok := f.clients[client.String()]; ok {
		return back, nil
	}
	back, err := dial(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	_ = back.SetReadDeadline(time.Now().Add(udpIdle))
	f.clients[client.String()] = back
	f.open.Go(func() { f.answer(client, back) })
	return back, nil
}

// answer passes what comes back to the client until it has been silent for long.
func (f *udpForwarder) answer(client net.Addr, back net.Conn) {
	buffer := make([]byte, udpMaxSize)
	for {
		n, err := back.Read(buffer)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // nobody listens yet; the deadline ends it
		}
		if err != nil {
			break
		}
		_ = back.SetReadDeadline(time.Now().Add(udpIdle))
		_, _ = f.front.WriteTo(buffer[:n], client)
	}
	f.mu.Lock()
	delete(f.clients, client.String())
	f.mu.Unlock()
	_ = back.Close()
}

func (f *udpForwarder) end() {
	f.mu.Lock()
	for _, back := range f.clients {
		_ = back.Close()
	}
	f.mu.Unlock()
	f.open.Wait()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
