package network

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Try makes what a node makes on the host, in a network namespace of its own that ends with the call, and says what this
// machine's kernel cannot: interfaces of the kind veth, nft tables, address translation. It needs root.
func Try(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its namespace
		ended <- try(ctx)
	}()
	return <-ended
}

func try(ctx context.Context) error {
	space, err := netns.New()
	if err != nil {
		return fmt.Errorf("a network namespace: %w", err)
	}
	defer func() { _ = space.Close() }()
	p, err := PlanFor("trial", Wish{}, nil, 1500)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.HostLink}, PeerName: sandboxLink}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("a virtual cable (veth): %w", err)
	}
	handle, err := netlink.NewHandleAt(space)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := setUp(handle, p.HostLink, netip.PrefixFrom(p.HostIP.Addr(), p.HostIP.Bits())); err != nil {
		return err
	}
	return nft(ctx, p.hostRules()+p.sandboxRules())
}
