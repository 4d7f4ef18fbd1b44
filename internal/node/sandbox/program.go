package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// KeepFilesSmall makes the files that this process has mapped to read, its own program above all, take little memory
// from now on. It gives back the pages that were mapped so far: a start touches most of the program, what follows far
// less, and what is needed again comes from the page cache; they are unchanged copies of the file, so nothing is lost.
// And it lets the kernel map one page at a time (see pageByPage). The error says what could not be done; all else is.
func KeepFilesSmall() error {
	mappings, err := filesToRead()
	if err != nil {
		return err
	}
	lean, err := newPageByPage()
	errs := []error{err}
	for _, m := range mappings {
		if lean != nil {
			errs = append(errs, lean.add(m.StartAddr, m.EndAddr-m.StartAddr))
		}
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED)
		if errno != 0 {
			errs = append(errs, fmt.Errorf("%s: madvise: %w", m.Pathname, errno))
		}
	}
	return errors.Join(errs...)
}

// filesToRead are the mappings of this process that show a file and are never written: those of its own program, and shared
// ones. A library's may have been written, when it was loaded, before they were made readable only.
func filesToRead() ([]*procfs.ProcMap, error) {
	self, err := procfs.Self()
	if err != nil {
		return nil, err
	}
	program, err := self.Executable()
	if err != nil {
		return nil, err
	}
	all, err := self.ProcMaps()
	if err != nil {
		return nil, err
	}
	var list []*procfs.ProcMap
	for _, m := range all {
		if strings.HasPrefix(m.Pathname, "/") && !m.Perms.Write && (m.Perms.Shared || undeleted(m.Pathname) == undeleted(program)) {
			list = append(list, m)
		}
	}
	return list, nil
}

// undeleted is the path of a file that may be gone: a program that was replaced by a newer one is still mapped.
func undeleted(path string) string { return strings.TrimSuffix(path, " (deleted)") }
