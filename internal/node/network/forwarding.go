package network

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// forwardFile is the switch that lets this machine pass packets on; Linux has it off until something needs it.
const forwardFile = "/proc/sys/net/ipv4/ip_forward"

// forwardingMark is there as long as forwarding is on because a node switched it on. It is the machine's and not one
// node's: the last node to leave switches it off, whichever came first. The switch is that of a network namespace, so the
// mark has its number: a node can be started in another than the machine's.
func forwardingMark() string {
	own, _ := os.Readlink("/proc/thread-self/ns/net") // net:[4026531833]
	return "/run/perch-forwarding-" + strings.Trim(own, "net:[]")
}

// ForwardingMarked tells whether there is such a mark.
func ForwardingMarked() bool {
	_, err := os.Stat(forwardingMark())
	return err == nil
}

// Forwarding tells whether this machine passes packets on.
func Forwarding() (bool, error) {
	now, err := os.ReadFile(forwardFile)
	return strings.TrimSpace(string(now)) == "1", err
}

// EnableForwarding lets the host pass packets on. The caller holds the lock that nodes share.
func EnableForwarding() error {
	on, err := Forwarding()
	if err != nil || on {
		return err
	}
	// The mark comes first: who is killed in between leaves a mark too many, which does no harm.
	if err := os.WriteFile(forwardingMark(), nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0o644)
}

// RestoreForwarding undoes EnableForwarding, unless another program needs it meanwhile. The caller holds the lock that
// nodes share, and no other node runs.
func RestoreForwarding() error {
	_, err := os.Stat(forwardingMark())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	if !needsForwarding(links) {
		if err := os.WriteFile(forwardFile, []byte("0"), 0o644); err != nil {
			return err
		}
	}
	return os.Remove(forwardingMark())
}

// needsForwarding tells whether others' guests live behind this machine. Docker, Podman, libvirt and LXD put them on
// bridges; who of them came after a node found forwarding on, and would not switch it on again.
func needsForwarding(links []netlink.Link) bool {
	return slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Type() == "bridge" })
}
