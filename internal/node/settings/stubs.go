package settings

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Stub is a domain whose names are asked of other DNS servers than the machine's own.
type Stub struct {
	Domain  string           `json:"domain"` // without a dot at the end; "" is every name
	Servers []netip.AddrPort `json:"servers"`
}

const dnsPort = 53

// ParseStub reads DOMAIN=SERVER[,SERVER…], each server an address with or without a port.
func ParseStub(text string) (Stub, error) {
	domain, list, ok := strings.Cut(text, "=")
	s := Stub{Domain: strings.Trim(strings.ToLower(domain), ".")}
	if _, valid := dns.IsDomainName(domain); !ok || !valid || domain == "" {
		return s, fmt.Errorf("%q: must be DOMAIN=SERVER, as corp.example=10.1.2.3", text)
	}
	if dns.IsSubDomain("cluster.local.", dns.Fqdn(s.Domain)) {
		return s, fmt.Errorf("%q: names in cluster.local are the cluster's own", text)
	}
	for one := range strings.SplitSeq(list, ",") {
		server, err := parseServer(one)
		if err != nil {
			return s, fmt.Errorf("%q: a server must be an address, as 10.1.2.3 or [fd00::1]:5353", one)
		}
		s.Servers = append(s.Servers, server)
	}
	return s, nil
}

func parseServer(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, dnsPort), nil
	}
	return netip.ParseAddrPort(text)
}

// String is as ParseStub reads it.
func (s Stub) String() string {
	var servers []string
	for _, a := range s.Servers {
		servers = append(servers, a.String())
	}
	domain := s.Domain
	if domain == "" {
		domain = "."
	}
	return domain + "=" + strings.Join(servers, ",")
}

// Resolvers are the servers, as host:port, that are asked for a name: those of the stub that has most of it, or the host's. Where
// a stub's servers are silent nobody else is asked, who would learn the names of its domain.
func (s Settings) Resolvers(name string, host func() []string) []string {
	var best *Stub
	for i, one := range s.DNSStubs {
		if dns.IsSubDomain(dns.Fqdn(one.Domain), dns.Fqdn(name)) && (best == nil || len(one.Domain) > len(best.Domain)) {
			best = &s.DNSStubs[i]
		}
	}
	if best == nil {
		return host()
	}
	servers := make([]string, len(best.Servers))
	for i, a := range best.Servers {
		servers[i] = a.String()
	}
	return servers
}

// sameStubs tells whether two lists say the same.
func sameStubs(a, b []Stub) bool {
	return slices.EqualFunc(a, b, func(a, b Stub) bool { return a.Domain == b.Domain && slices.Equal(a.Servers, b.Servers) })
}
