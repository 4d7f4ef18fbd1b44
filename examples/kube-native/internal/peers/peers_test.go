package peers_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/perch-k8s/perch/examples/kube-native/internal/peers"
)

// dns answers from a map.
type dns map[string][]string

func (d dns) LookupHost(ctx context.Context, host string) ([]string, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("no deadline")
	}
	addresses, ok := d[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addresses, nil
}

func TestFind(t *testing.T) {
	t.Parallel()
	resolver := dns{"web-pods": {"10.0.0.3", "10.0.0.1", "10.0.0.3"}}
	got, err := peers.Find(t.Context(), resolver, "web-pods")
	if want := []string{"10.0.0.1", "10.0.0.3"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := peers.Find(t.Context(), resolver, ""); err != nil || got != nil {
		t.Errorf("no host: got %v, %v", got, err)
	}
	var notFound *net.DNSError
	if _, err := peers.Find(t.Context(), resolver, "other"); !errors.As(err, &notFound) {
		t.Errorf("unknown host: got error %v", err)
	}
}
