package cli

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/perch-k8s/perch/internal/node/settings"
	"github.com/perch-k8s/perch/internal/ui"
)

// seconds is a duration flag that takes 30s and 5m, and bare seconds as docker compose has them.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		*s = seconds(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("must be a duration, as 30s or 5m, or seconds")
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return strings.TrimSuffix(time.Duration(*s).String(), "0s") }
func (s *seconds) Type() string   { return "duration" }

// prefix is a flag for a network, as 10.89.0.0/16.
type prefix netip.Prefix

func (p *prefix) Set(text string) error {
	value, err := netip.ParsePrefix(text)
	if err != nil {
		return errors.New("must be a network, as 172.30.240.0/24")
	}
	*p = prefix(value.Masked())
	return nil
}

func (p *prefix) String() string {
	if value := netip.Prefix(*p); value.IsValid() {
		return value.String()
	}
	return ""
}

func (p *prefix) Type() string { return "network" }

// size is a flag for a number of bytes that takes 20GB and 20g, in decimal units as `perch system df` writes them.
type size int64

func (s *size) Set(text string) error {
	n, err := units.FromHumanSize(text)
	if err != nil || n <= 0 {
		return errors.New("must be a size, as 20GB")
	}
	*s = size(n)
	return nil
}

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return ui.Bytes(int64(*s))
}

func (s *size) Type() string { return "size" }

// stubs is a flag that may be repeated, for domains with DNS servers of their own.
type stubs []settings.Stub

func (s *stubs) Set(text string) error {
	if text == "none" {
		*s = stubs{}
		return nil
	}
	one, err := settings.ParseStub(text)
	*s = append(*s, one)
	return err
}

func (s *stubs) String() string {
	var texts []string
	for _, one := range *s {
		texts = append(texts, one.String())
	}
	return strings.Join(texts, " ")
}

func (s *stubs) Type() string { return "domain=server" }

// pullPolicy is when images are pulled.
type pullPolicy string

func (p *pullPolicy) Set(text string) error {
	if !slices.Contains([]string{"always", "missing"}, text) {
		return errors.New("must be one of always, missing")
	}
	*p = pullPolicy(text)
	return nil
}

func (p *pullPolicy) String() string { return string(*p) }
func (p *pullPolicy) Type() string   { return "policy" }

// list writes names for a message.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
