package builder

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

const idle = 50 * time.Millisecond

func listen(t *testing.T) (*idleListener, func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return newIdleListener(l, idle), func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func TestIdleListenerEndsWhenNobodyComes(t *testing.T) {
	t.Parallel()
	l, _ := listen(t)
	if _, err := l.Accept(); !errors.Is(err, errIdle) {
		t.Errorf("accept: %v", err)
	}
}

func TestIdleListenerStaysWhileAConnectionIsOpen(t *testing.T) {
	t.Parallel()
	l, dial := listen(t)
	client := dial()
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	select {
	case err := <-accepted:
		t.Fatalf("with an open connection: %v", err)
	case <-time.After(4 * idle):
	}
	for range 2 { // as gRPC may
		_ = server.Close()
	}
	if err := <-accepted; !errors.Is(err, errIdle) {
		t.Errorf("after it was closed: %v", err)
	}
}

func TestConnectionAfterTheEndWaitsForTheNext(t *testing.T) {
	t.Parallel()
	l, dial := listen(t)
	if _, err := l.Accept(); !errors.Is(err, errIdle) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	client := dial() // nobody listens for it yet
	defer client.Close()
	next := newIdleListener(l.Listener, idle)
	if _, err := next.Accept(); err != nil {
		t.Errorf("the next process: %v", err)
	}
}

func TestCloseEndsAccept(t *testing.T) {
	t.Parallel()
	l, _ := listen(t)
	l.idle = time.Hour
	accepted := make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
