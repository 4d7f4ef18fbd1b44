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
	p, err := PlanFor("trial", Wish{}, Host{MTU: 1500, IPv6: everyIPv6()})
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

// everyIPv6 is all of IPv6 that this kernel can do.
func everyIPv6() IPv6 {
	has := machineIPv6(nil).Kernel
	return IPv6{Kernel: has, On: has, Out: has}
}
