package network

import (
	"bufio"
	"context"
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
	dnsTimeout = 3 * time.Second // for one server; then the next is asked
	dnsMaxSize = 4096            // bytes of an answer over UDP (EDNS)
	dnsAtOnce  = 256             // questions under way
)

// Relay answers DNS inside the sandbox by asking the resolvers of the host, from the host: whatever resolves there
// (systemd-resolved on a loopback address, a VPN's servers) resolves inside. It serves until ctx ends.
func Relay(ctx context.Context, sandbox Namespace, servers func() []string) error {
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
	stop := context.AfterFunc(ctx, func() {
		_ = udp.Close()
		_ = tcp.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { ForwardTCP(ctx, tcp, dialFirst(servers), "") })
	both.Go(func() { relayUDP(ctx, udp, servers) })
	both.Wait()
	return nil
}

// dialFirst connects to the first server that takes the connection.
func dialFirst(servers func() []string) DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		err := fmt.Errorf("no DNS server in /etc/resolv.conf")
		for _, server := range servers() {
			d := net.Dialer{Timeout: dnsTimeout}
			var conn net.Conn
			if conn, err = d.DialContext(ctx, network, server); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
}

func relayUDP(ctx context.Context, c net.PacketConn, servers func() []string) {
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
			for _, server := range servers() {
				if answer, err := ask(ctx, server, question[:n]); err == nil {
					_, _ = c.WriteTo(answer, client)
					return
				}
			}
		})
	}
}

// ask sends one question to one server from a socket of its own, so that answers cannot be mixed up.
func ask(ctx context.Context, server string, question []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsTimeout}
	conn, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(dnsTimeout))
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
