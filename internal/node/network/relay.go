package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	dnsTimeout = 3 * time.Second  // for one server; then the next is asked
	dnsMaxSize = 4096             // bytes of an answer over UDP (EDNS)
	dnsAtOnce  = 256              // questions under way over UDP
	dnsIdle    = 20 * time.Second // for the next question of a connection
)

// Servers are the DNS servers, as host:port, that a name is asked of, one after the other until one answers.
type Servers func(name string) []string

// Relay answers DNS inside the sandbox by asking other servers, from the host: whatever resolves there (systemd-resolved on a
// loopback address, a VPN's servers) resolves inside. It serves until ctx ends.
func Relay(ctx context.Context, sandbox Namespace, servers Servers) error {
	address := net.JoinHostPort(RelayIP, "53")
	udp, err := sandbox.ListenPacket(ctx, address)
	if err != nil {
		return fmt.Errorf("DNS relay: %w", err)
	}
	tcp, err := sandbox.Listen(ctx, address)
	if err != nil {
		_ = udp.Close()
		return fmt.Errorf("DNS relay: %w", err)
	}
	relay(ctx, udp, tcp, servers)
	return nil
}

// relay serves on both sockets, and closes them when ctx ends.
func relay(ctx context.Context, udp net.PacketConn, tcp net.Listener, servers Servers) {
	stop := context.AfterFunc(ctx, func() {
		_ = udp.Close()
		_ = tcp.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { relayTCP(ctx, tcp, servers) })
	both.Go(func() { relayUDP(ctx, udp, servers) })
	both.Wait()
}

// nameOf is the name that a message asks for; "." when it asks for none.
func nameOf(question []byte) string {
	const header = 12 // bytes, before the first question
	if len(question) <= header {
		return "."
	}
	name, _, err := dns.UnpackDomainName(question, header)
	if err != nil {
		return "."
	}
	return name
}

// relayTCP serves connections, of which each may ask for names of several domains.
func relayTCP(ctx context.Context, l net.Listener, servers Servers) {
	eachConn(ctx, l, func(conn net.Conn) {
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		defer func() { _ = conn.Close() }()
		answerTCP(ctx, conn, servers)
	})
}

// answerTCP answers one question after the other until the client has no more, or one is answered by nobody.
func answerTCP(ctx context.Context, client net.Conn, servers Servers) {
	for {
		_ = client.SetDeadline(time.Now().Add(dnsIdle))
		question, err := readMessage(client)
		if err != nil {
			return
		}
		answer := firstAnswer(ctx, "tcp", servers, question)
		if answer == nil || writeMessage(client, answer) != nil {
			return
		}
	}
}

// readMessage and writeMessage know how DNS is written to a stream: the length comes first.
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)) //nolint:gosec // it was read so
	return err
}

func relayUDP(ctx context.Context, c net.PacketConn, servers Servers) {
	limit := make(chan struct{}, dnsAtOnce)
	var open sync.WaitGroup
	defer open.Wait()
	for {
		question := make([]byte, dnsMaxSize)
		n, client, err := c.ReadFrom(question)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			continue
		}
		limit <- struct{}{}
		open.Go(func() {
			defer func() { <-limit }()
			if answer := firstAnswer(ctx, "udp", servers, question[:n]); answer != nil {
				_, _ = c.WriteTo(answer, client)
			}
		})
	}
}

// firstAnswer is that of the first server that gives one; nil when none does.
func firstAnswer(ctx context.Context, protocol string, servers Servers, question []byte) []byte {
	for _, server := range servers(nameOf(question)) {
		if answer, err := ask(ctx, protocol, server, question); err == nil {
			return answer
		}
	}
	return nil
}

// ask sends one question to one server from a socket of its own, so that answers cannot be mixed up.
func ask(ctx context.Context, protocol, server string, question []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsTimeout}
	conn, err := d.DialContext(ctx, protocol, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a node that ends does not wait for a silent server
	_ = conn.SetDeadline(time.Now().Add(dnsTimeout))
	if protocol == "tcp" {
		if err := writeMessage(conn, question); err != nil {
			return nil, err
		}
		return readMessage(conn)
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, dnsMaxSize)
	n, err := conn.Read(answer)
	return answer[:n], err
}

// HostServers reads the DNS servers of /etc/resolv.conf each time it is called: a laptop changes them when it moves.
func HostServers() []string {
	file, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	return parseServers(file)
}

func parseServers(r io.Reader) []string {
	var servers []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "nameserver" {
			servers = append(servers, net.JoinHostPort(fields[1], "53"))
		}
	}
	return servers
}

// Answers says why a DNS server gives no answer of any kind within ctx, nil when it gives one.
func Answers(ctx context.Context, server string) error {
	question := new(dns.Msg).SetQuestion("localhost.", dns.TypeA)
	client := dns.Client{}
	if deadline, ok := ctx.Deadline(); ok {
		client.Timeout = time.Until(deadline)
	}
	_, _, err := client.ExchangeContext(ctx, question, server)
	return err
}
