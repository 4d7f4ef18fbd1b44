package sandbox

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestHasCapability(t *testing.T) {
	t.Parallel()
	if HasCapability("Name:\tx\nCapEff:\t000001fffeffffff\n", unix.CAP_SYS_RESOURCE) {
		t.Error("found in a mask without bit 24")
	}
	if !HasCapability("CapEff:\t000001ffffffffff\n", unix.CAP_SYS_RESOURCE) {
		t.Error("not found in a full mask")
	}
	if HasCapability("", unix.CAP_SYS_RESOURCE) {
		t.Error("found in nothing")
	}
}
