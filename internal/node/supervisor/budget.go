package supervisor

import (
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/node/settings"
)

// buildCache is how many bytes the build cache may use; 0, when the disk cannot be asked, is the builder's default.
func (s *supervisor) buildCache() int64 {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.Layout.Dir, &disk); err != nil {
		return 0
	}
	return settings.BuildCache(s.settings.Budget(int64(disk.Blocks) * disk.Bsize)) //nolint:gosec // a disk's blocks fit
}
