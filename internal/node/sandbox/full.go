package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// scarce is how little of a disk is left when programs end for the lack of it: etcd takes 64 MiB at once, for the next part
// of its log, and ends when it does not get them.
const scarce = 80 << 20 // bytes

// DiskFull says that the disk of a folder has no space left, nil when it has some or cannot be asked.
func DiskFull(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil //nolint:nilerr // then something else is wrong, and says so itself
	}
	free := int64(fs.Bavail) * fs.Bsize //nolint:gosec // a disk's blocks fit
	if free >= scarce {
		return nil
	}
	return fmt.Errorf("the disk of %s is full (%d MB are left); it goes on when there is space again", dir, free/1e6)
}
