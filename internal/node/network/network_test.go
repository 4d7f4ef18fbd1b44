package network

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestLinkNameFits(t *testing.T) {
	t.Parallel()
	for _, cluster := range []string{"perch", "a-cluster-with-a-long-name", "e2e"} {
		if name := linkName(cluster); len(name) > 15 {
			t.Errorf("%q has %d bytes", name, len(name))
		}
	}
	if linkName("a-cluster-with-a-long-name") == linkName("a-cluster-with-a-longer-name") {
		t.Error("two clusters have one name")
	}
}

func TestParseServers(t *testing.T) {
	t.Parallel()
	got := parseServers(strings.NewReader("# comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver fd00::1\noptions edns0\n"))
	if strings.Join(got, " ") != "127.0.0.53:53 [fd00::1]:53" {
		t.Errorf("got %v", got)
	}
}

// listen starts a TCP server that calls serve for each connection.
func listen(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

func forwardTCP(t *testing.T, dial DialFunc, target string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		ForwardTCP(ctx, l, dial, target)
	}()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestForwardTCPPassesHalfCloses(t *testing.T) {
	t.Parallel()
	target := listen(t, func(c *net.TCPConn) {
		data, _ := io.ReadAll(c) // ends only when the client's half-close comes through
		_, _ = c.Write(bytes.ToUpper(data))
		_ = c.Close()
	})
	conn, err := net.Dial("tcp", forwardTCP(t, (&net.Dialer{}).DialContext, target))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "HELLO" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestForwardTCPTriesARefusedConnectionAgain(t *testing.T) {
	t.Parallel()
	target := listen(t, func(c *net.TCPConn) { _, _ = c.Write([]byte("x")); _ = c.Close() })
	var tries atomic.Int32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if tries.Add(1) < 4 {
			return nil, syscall.ECONNREFUSED
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	conn, err := net.Dial("tcp", forwardTCP(t, dial, target))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestForwardTCPResetsWhenNothingAnswers(t *testing.T) {
	t.Parallel()
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ENETUNREACH }
	conn, err := net.Dial("tcp", forwardTCP(t, dial, "127.0.0.1:1"))
	if err == nil { // else the reset came at once
		_, err = io.ReadAll(conn)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v: an unreachable target must not look like an empty answer", err)
	}
}

func TestForwardUDPKeepsClientsApart(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(bytes.ToUpper(buffer[:n]), from)
		}
	}()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ForwardUDP(t.Context(), front, (&net.Dialer{}).DialContext, server.LocalAddr().String())
	}()
	for _, word := range []string{"one", "two"} {
		client, err := net.Dial("udp", front.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := client.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := client.Read(buffer)
		if err != nil || string(buffer[:n]) != strings.ToUpper(word) {
			t.Errorf("got %q, %v", buffer[:n], err)
		}
		_ = client.Close()
	}
	_ = front.Close()
	<-done
}
