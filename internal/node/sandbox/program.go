package sandbox

import (
	"fmt"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// ReleaseProgram gives back the pages of the running program's own file that this process has mapped. A start touches
// most of the file, what follows far less; what is needed again comes from the page cache. The pages are unchanged
// copies of the file, so nothing is lost.
func ReleaseProgram() error {
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	program, err := self.Executable()
	if err != nil {
		return err
	}
	maps, err := self.ProcMaps()
	if err != nil {
		return err
	}
	for _, m := range maps {
		// A program that was replaced by a newer one is still mapped, as "… (deleted)".
		if strings.TrimSuffix(m.Pathname, " (deleted)") != strings.TrimSuffix(program, " (deleted)") || m.Perms.Write {
			continue
		}
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED)
		if errno != 0 {
			return fmt.Errorf("%s: madvise: %w", program, errno)
		}
	}
	return nil
}
