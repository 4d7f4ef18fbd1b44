package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageByPage makes the kernel map single pages of a file where it would map all that it has within 64 KiB of the one
// that is needed. For that there is a switch of the whole machine (fault_around_bytes), and none for one mapping. But where
// writes are to be noticed by a userfaultfd it maps nothing unasked; that no write ever is asked for costs nothing.
// Kernels before 6.7 have that for other memory than files.
//
// https://docs.kernel.org/admin-guide/mm/userfaultfd.html
type pageByPage struct {
	fd uintptr // open as long as the process is: mappings are let go with it
}

// What of linux/userfaultfd.h is used; package unix has only the system call.
const (
	userModeOnly    = 1                    // UFFD_USER_MODE_ONLY: any user may ask for it
	apiVersion      = 0xAA                 // UFFD_API
	asyncWrites     = 1 << 15              // UFFD_FEATURE_WP_ASYNC: for any mapping, and nobody has to answer
	writesNoticed   = 1 << 1               // UFFDIO_REGISTER_MODE_WP
	requestAPI      = uintptr(0xC018_AA3F) // UFFDIO_API
	requestRegister = uintptr(0xC020_AA00) // UFFDIO_REGISTER
)

// apiRequest is struct uffdio_api, registerRequest struct uffdio_register.
type (
	apiRequest      struct{ api, features, ioctls uint64 }
	registerRequest struct{ start, length, mode, ioctls uint64 }
)

func newPageByPage() (*pageByPage, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|userModeOnly, 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("pages one at a time: userfaultfd: %w", errno)
	}
	r := apiRequest{api: apiVersion, features: asyncWrites}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, requestAPI, uintptr(unsafe.Pointer(&r))); errno != 0 {
		_ = unix.Close(int(fd))
		return nil, fmt.Errorf("pages one at a time: this kernel is older than 6.7: %w", errno)
	}
	return &pageByPage{fd}, nil
}

// add has it so for a mapping from now on. Pages that are mapped already stay.
func (p *pageByPage) add(start, length uintptr) error {
	r := registerRequest{start: uint64(start), length: uint64(length), mode: writesNoticed}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, p.fd, requestRegister, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("pages one at a time: %#x: %w", start, errno)
	}
	// What the page cache has as one piece of 2 MiB would still be mapped as such.
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, start, length, unix.MADV_NOHUGEPAGE)
	if errno != 0 && errno != unix.EINVAL { // EINVAL: a kernel without huge pages
		return fmt.Errorf("pages one at a time: %#x: madvise: %w", start, errno)
	}
	return nil
}
