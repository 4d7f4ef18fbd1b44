// Package peers finds the application's own pods. A headless Service has one DNS address for each ready pod, so a plain
// look-up is all the service discovery it takes.
package peers

import (
	"context"
	"net"
	"slices"
	"time"
)

// Resolver looks names up; net.DefaultResolver is one.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

var _ Resolver = (*net.Resolver)(nil)

// timeout bounds the look-up: the page must not hang when DNS does.
const timeout = 500 * time.Millisecond

// Find returns the addresses behind host, sorted. An empty host has no peers.
func Find(ctx context.Context, r Resolver, host string) ([]string, error) {
	if host == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addresses, err := r.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}

// OwnAddress is the first address of this machine that others can reach, or "". It stands in for POD_IP where there is
// no downward API, as under Compose.
func OwnAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}
