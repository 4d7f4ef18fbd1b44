// Package network ties the sandbox to the host and to the outside: one pair of virtual cables, one nft table, ports
// published on 127.0.0.1, and a relay to the host's DNS. Published ports and the relay are sockets: this process opens one
// end inside the sandbox's network namespace and the other on the host, so that the host needs no route to a pod or a
// Service, and no firewall rule of it is passed or broken.
package network

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Namespace is a network namespace that sockets can be opened in.
type Namespace struct {
	handle netns.NsHandle
}

// OfProcess is the network namespace of a process.
func OfProcess(pid int) (Namespace, error) {
	h, err := netns.GetFromPid(pid)
	if err != nil {
		return Namespace{}, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return Namespace{handle: h}, nil
}

// Close lets the namespace go; sockets that were opened in it stay.
func (n Namespace) Close() error { return n.handle.Close() }

// Do calls f on a thread that is in the namespace: sockets and processes that f makes belong there. f must not hand
// work that makes sockets to other goroutines.
func (n Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	host, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = host.Close() }()
	if err := netns.Set(n.handle); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the sandbox's network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(host); back != nil {
		return back // the thread stays locked and ends with its goroutine: it must not serve others
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects from inside the namespace. address must be a literal address with its port.
func (n Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen opens a TCP listener inside the namespace.
func (n Namespace) Listen(ctx context.Context, address string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		return err
	})
	return l, err
}

// ListenPacket opens a UDP socket inside the namespace.
func (n Namespace) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := n.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
		return err
	})
	return c, err
}
