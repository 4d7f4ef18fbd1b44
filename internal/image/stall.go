package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialLimit    = 10 * time.Second // for a registry to take a connection
	defaultStall = time.Minute
)

// stallConn ends a connection on which nothing moves. A limit for a whole upload would have to know how fast the line is.
type stallConn struct {
	net.Conn
	after time.Duration
	waits atomic.Int64 // bytes that were written and that the other side had not when that was last looked at
}

var _ net.Conn = (*stallConn)(nil)

// stallingDialer makes connections that end when nothing moves on them for that long.
func stallingDialer(after time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialLimit, KeepAlive: dialLimit}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: c, after: after}, nil
	}
}

// Read waits on when what was written is still on its way: on a slow line the kernel has more of it than goes out in the limit.
func (c *stallConn) Read(b []byte) (int, error) {
	for {
		if err := c.SetReadDeadline(time.Now().Add(c.after)); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.moves() {
			continue
		}
		return n, c.named(err)
	}
}

// moves is true when the other side has taken something since this was last asked.
func (c *stallConn) moves() bool {
	now := c.queued()
	return now < c.waits.Swap(now)
}

// queued is how many bytes the kernel still has to send, or to see received.
func (c *stallConn) queued() int64 {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	_ = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) //nolint:gosec // a file's number
	if err != nil {
		return 0
	}
	return int64(n)
}

// Write moves the limit of a Read that waits for the answer, too.
func (c *stallConn) Write(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.after)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	c.waits.Store(c.queued())
	return n, c.named(err)
}

func (c *stallConn) named(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return stalledError{c.after}
	}
	return err
}

// stalledError is of a connection on which nothing moved for that long.
type stalledError struct{ after time.Duration }

var _ net.Error = stalledError{}

func (e stalledError) Error() string   { return fmt.Sprintf("nothing moved for %v", e.after) }
func (e stalledError) Timeout() bool   { return true }
func (e stalledError) Temporary() bool { return true }
