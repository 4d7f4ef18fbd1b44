package kubernetes

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// diskLimits are the kubelet's answers to a disk that fills up.
type diskLimits struct {
	imagesHigh, imagesLow int32 // per cent of the disk in use: images are removed from the one down to the other
	evictBelow            int64 // bytes free, below which pods have to go; 0: the size of the disk is not known
}

// What the kubelet keeps free at most: its shares, of 10 and 3 per cent, are 100 and 30 GB on a laptop's disk, which is
// often fuller than that with the user's own things.
const (
	imagesKeepFree = 10e9
	podsKeepFree   = 2e9
)

// diskLimitsOf is for a disk of that size. The disk budget is another thing: it is of what the node has, and kept by
// those who know of revisions. This is for the disk as a whole, whoever filled it.
func diskLimitsOf(size int64) diskLimits {
	const high, evict = 10, 3 // per cent, kept free
	free := int64(high)
	for free > 1 && size/100*(free-1) >= imagesKeepFree {
		free--
	}
	return diskLimits{imagesHigh: int32(100 - free), imagesLow: int32(100 - free - 1), evictBelow: min(size/100*evict, podsKeepFree)} //nolint:gosec // per cents fit
}

// eviction is the kubelet's evictionHard. A disk that cannot be asked has its usual share.
func (l diskLimits) eviction() map[string]string {
	disk := "3%"
	if l.evictBelow > 0 {
		disk = fmt.Sprint(l.evictBelow)
	}
	return map[string]string{"memory.available": "100Mi", "nodefs.available": disk, "imagefs.available": disk, "nodefs.inodesFree": "2%"}
}

// disk is the limits for the disk that the node is on.
func (c Config) disk() diskLimits {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Dir, &fs); err != nil {
		return diskLimitsOf(0)
	}
	return diskLimitsOf(int64(fs.Blocks) * fs.Bsize) //nolint:gosec // a disk's blocks fit
}
