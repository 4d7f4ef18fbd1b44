package dns

import (
	"context"
	"net"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// services answers A for the names of a map, has nothing else for them, and knows no other name.
func services(known map[string]string) plugin.Handler {
	return plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg).SetReply(r)
		name := r.Question[0].Name
		ip, ok := known[name]
		switch {
		case !ok:
			m.Rcode = dns.RcodeNameError
		case r.Question[0].Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(ip)}}
		}
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
}

func TestComposeNames(t *testing.T) {
	t.Parallel()
	names := composeNames{suffix: "svc.cluster.local.", next: services(map[string]string{
		"my-db.shop.svc.cluster.local.":       "10.43.0.1",
		"db-internal.shop.svc.cluster.local.": "10.43.0.2",
		"web-0.web.shop.svc.cluster.local.":   "10.42.0.3",
		"web-0-web.shop.svc.cluster.local.":   "10.43.0.4",
		"x3-tier.shop.svc.cluster.local.":     "10.43.0.5",
	})}
	tests := map[string]struct {
		ask   string
		kind  uint16
		want  string // an address; "": none
		rcode int
	}{
		"a valid name":                   {"my-db.shop.svc.cluster.local.", dns.TypeA, "10.43.0.1", dns.RcodeSuccess},
		"an underscore":                  {"my_db.shop.svc.cluster.local.", dns.TypeA, "10.43.0.1", dns.RcodeSuccess},
		"an underscore and capitals":     {"My_DB.shop.svc.cluster.local.", dns.TypeA, "10.43.0.1", dns.RcodeSuccess},
		"a dot":                          {"db.internal.shop.svc.cluster.local.", dns.TypeA, "10.43.0.2", dns.RcodeSuccess},
		"a digit first":                  {"3.tier.shop.svc.cluster.local.", dns.TypeA, "10.43.0.5", dns.RcodeSuccess},
		"a pod's own name comes first":   {"web-0.web.shop.svc.cluster.local.", dns.TypeA, "10.42.0.3", dns.RcodeSuccess},
		"no address of that kind":        {"my_db.shop.svc.cluster.local.", dns.TypeAAAA, "", dns.RcodeSuccess},
		"nothing under either name":      {"your_db.shop.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError},
		"another namespace":              {"my_db.other.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError},
		"a port of a Service":            {"_http._tcp.my-db.shop.svc.cluster.local.", dns.TypeSRV, "", dns.RcodeNameError},
		"not in the zone of Services":    {"my_db.example.org.", dns.TypeA, "", dns.RcodeNameError},
		"the namespace alone":            {"shop.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError},
		"the zone of Services by itself": {"svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dnstest.NewRecorder(&test.ResponseWriter{})
			ask := new(dns.Msg).SetQuestion(tt.ask, tt.kind)
			if _, err := names.ServeDNS(t.Context(), w, ask); err != nil {
				t.Fatal(err)
			}
			if w.Msg.Rcode != tt.rcode || w.Msg.Question[0].Name != tt.ask {
				t.Errorf("rcode %d for %s", w.Msg.Rcode, w.Msg.Question[0].Name)
			}
			got := ""
			for _, record := range w.Msg.Answer {
				if record.Header().Name != tt.ask {
					t.Errorf("an answer for %s", record.Header().Name)
				}
				got = record.(*dns.A).A.String()
			}
			if got != tt.want {
				t.Errorf("address %q, want %q", got, tt.want)
			}
		})
	}
}
