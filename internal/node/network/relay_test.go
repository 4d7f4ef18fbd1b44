package network

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nameserver answers every question of the protocol with a text, on an address of its own.
func nameserver(t *testing.T, text string) string {
	t.Helper()
	udp, tcp := bothSockets(t)
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		a.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}}}
		_ = w.WriteMsg(a)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		go func() { _ = s.ActivateAndServe() }()
	}
	return tcp.Addr().String()
}

// bothSockets have one number.
func bothSockets(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tcp.Close() })
		if udp, err := net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			t.Cleanup(func() { _ = udp.Close() })
			return udp, tcp
		}
	}
	t.Fatal("no free port")
	return nil, nil
}

func TestRelayAsksByName(t *testing.T) {
	t.Parallel()
	corp, host := nameserver(t, "corp"), nameserver(t, "host")
	udp, tcp := bothSockets(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay(ctx, udp, tcp, func(name string) []string {
			if strings.HasSuffix(name, "corp.example.") {
				return []string{"127.0.0.1:1", corp} // nobody is at the first
			}
			return []string{host}
		})
	}()
	for _, protocol := range []string{"udp", "tcp"} {
		client := dns.Client{Net: protocol}
		conn, err := client.DialContext(t.Context(), tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"db.corp.example.": "corp", "example.": "host"} { // over one connection
			answer, _, err := client.ExchangeWithConnContext(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeTXT), conn)
			if err != nil {
				t.Errorf("%s of %s: %v", protocol, name, err)
			} else if got := answer.Answer[0].(*dns.TXT).Txt[0]; got != want {
				t.Errorf("%s of %s: %s answers", protocol, name, got)
			}
		}
		_ = conn.Close()
	}
	cancel()
	<-done
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	whole, err := new(dns.Msg).SetQuestion("a.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		message []byte
		want    string
	}{{whole, "a.example."}, {whole[:14], "."}, {whole[:12], "."}, {nil, "."}} {
		if got := nameOf(test.message); got != test.want {
			t.Errorf("%v: %s", test.message, got)
		}
	}
}

// TestAskEndsWithItsContext asks a server that says nothing.
func TestAskEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := ask(ctx, "udp", silent.LocalAddr().String(), []byte("question"))
		asked <- err
	}()
	if _, _, err := silent.ReadFrom(make([]byte, dnsMaxSize)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-asked; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it has waited for the answer: %v", err)
	}
}
