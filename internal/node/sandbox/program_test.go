package sandbox

import (
	"os"
	"testing"

	"github.com/prometheus/procfs"
)

// resident is how many bytes of this program's file are mapped now, in the mappings that are never written.
func resident(t *testing.T) uint64 {
	t.Helper()
	self, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	status, err := self.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.RssFile
}

func TestReleaseProgram(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe") // into the page cache, so that pages are mapped many at a time
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	if err := ReleaseProgram(); err != nil {
		t.Fatal(err)
	}
	if after := resident(t); after >= before {
		t.Errorf("%d bytes of the program (%d long) were mapped, and %d after it was released", before, len(program), after)
	}
}
