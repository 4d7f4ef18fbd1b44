package builder

import (
	"errors"
	"net"
	"sync"
	"time"
)

// errIdle ends a server whose listener found that nobody used it for long enough.
var errIdle = errors.New("idle")

// idleListener hands out the connections of a listener and returns errIdle from Accept when none was open for idle.
// It decides that only between two accepts, so that no connection is ever taken and then dropped; and Close leaves the
// listener itself open: whatever comes later waits in its queue for the next process.
type idleListener struct {
	net.Listener
	idle time.Duration

	mu     sync.Mutex
	open   int
	since  time.Time     // when the last connection was closed
	closed chan struct{} // closed by Close
	once   sync.Once
}

func newIdleListener(l net.Listener, idle time.Duration) *idleListener {
	return &idleListener{Listener: l, idle: idle, since: time.Now(), closed: make(chan struct{})}
}

// deadliner is what TCP and Unix listeners have.
type deadliner interface{ SetDeadline(time.Time) error }

// Accept waits for a connection, but not beyond the moment at which the listener has been idle for long enough.
func (l *idleListener) Accept() (net.Conn, error) {
	d, ok := l.Listener.(deadliner)
	if !ok {
		return nil, errors.New("the listener has no deadline")
	}
	for {
		wait, idle := l.rest()
		if idle {
			return nil, errIdle
		}
		if err := d.SetDeadline(time.Now().Add(wait)); err != nil {
			return nil, err
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		default:
		}
		c, err := l.Listener.Accept()
		var ne net.Error
		switch {
		case err == nil:
			return l.track(c), nil
		case !errors.As(err, &ne) || !ne.Timeout():
			return nil, err
		}
	}
}

// rest is how long to wait until it is worth asking again, and whether the listener has been idle for long enough.
func (l *idleListener) rest() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open > 0 {
		return l.idle, false
	}
	left := l.idle - time.Since(l.since)
	return left, left <= 0
}

func (l *idleListener) track(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	return &trackedConn{Conn: c, closed: sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		l.since = time.Now()
	})}
}

// Close ends Accept and leaves the listener open for others.
func (l *idleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	if d, ok := l.Listener.(deadliner); ok {
		return d.SetDeadline(time.Now())
	}
	return nil
}

// trackedConn tells its listener when it is closed.
type trackedConn struct {
	net.Conn
	closed func()
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}
