package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

// servePort forwards to ports of this machine, as a kubelet does to those of a pod.
func (n *node) servePort(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{}, r.PathValue("pod"), "", options, time.Minute, time.Minute, portforward.SupportedProtocols)
}

type forwarder struct{}

func (forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}

// listen serves each connection with serve, until the test ends.
func listen(t *testing.T, serve func(net.Conn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestDialPod(t *testing.T) {
	t.Parallel()
	c := connect(t, "dial")
	n := startNode(t, c, "dial")
	newPod(t, c, "db", n.name, nil, nil, running(0))
	dial := func(t *testing.T, port uint16) net.Conn {
		t.Helper()
		conn, err := c.DialPod(limited(t), "", "db", port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	t.Run("what is written comes back, to the end", func(t *testing.T) {
		t.Parallel()
		const size = 1 << 20
		conn := dial(t, listen(t, func(conn net.Conn) { _, _ = io.CopyN(conn, conn, size) }))
		sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		go func() { _, _ = conn.Write(sent) }()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("of %d bytes came %d, and the error %v", size, len(got), err)
		}
	})
	t.Run("a deadline ends a read", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }))
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		_ = l.Close()
		_, err = dial(t, port).Read(make([]byte, 1))
		if err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v, want the kubelet's words", err)
		}
	})
	t.Run("no such pod", func(t *testing.T) {
		t.Parallel()
		if _, err := c.DialPod(limited(t), "", "nobody", 5432); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("ended before", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		cancel(enough)
		if _, err := c.DialPod(ctx, "", "db", 5432); !errors.Is(err, enough) {
			t.Errorf("error %v", err)
		}
	})
}
