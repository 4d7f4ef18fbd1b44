package settings

import (
	"strings"
	"testing"
)

func TestParseStub(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"corp.example=10.1.2.3":               "corp.example=10.1.2.3:53",
		"Corp.Example.=10.1.2.3:5353,fd00::1": "corp.example=10.1.2.3:5353,[fd00::1]:53",
		"lab=[fd00::1]:5353":                  "lab=[fd00::1]:5353",
		".=127.0.0.53":                        ".=127.0.0.53:53",
		"":                                    "must be DOMAIN=SERVER",
		"=10.1.2.3":                           "must be DOMAIN=SERVER",
		"corp.example":                        "must be DOMAIN=SERVER",
		"a..b=10.1.2.3":                       "must be DOMAIN=SERVER",
		"corp.example=":                       "a server must be an address",
		"corp.example=ns.corp.example":        "a server must be an address",
		"corp.example=10.1.2.3,":              "a server must be an address",
		"shop.svc.cluster.local=10.1.2.3":     "are the cluster's own",
		strings.Repeat("long", 20) + "=10.1.2.3:5": "must be DOMAIN=SERVER",
	} {
		s, err := ParseStub(text)
		got := s.String()
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestResolvers(t *testing.T) {
	t.Parallel()
	var s Settings
	for _, text := range []string{"corp.example=10.1.2.3,10.1.2.4", "lab.corp.example=10.7.7.7"} {
		stub, err := ParseStub(text)
		if err != nil {
			t.Fatal(err)
		}
		s.DNSStubs = append(s.DNSStubs, stub)
	}
	for name, want := range map[string]string{
		"corp.example.":         "10.1.2.3:53 10.1.2.4:53",
		"db.Corp.example.":      "10.1.2.3:53 10.1.2.4:53",
		"db.lab.corp.example.":  "10.7.7.7:53",
		"notcorp.example.":      "host",
		"example.":              "host",
		".":                     "host",
		"corp.example.net.":     "host",
		"a.b.lab.corp.example.": "10.7.7.7:53",
	} {
		if got := strings.Join(s.Resolvers(name, func() []string { return []string{"host"} }), " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
