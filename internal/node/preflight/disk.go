package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folder is what a file system says of itself. Sizes are in bytes.
type folder struct {
	kind               int64
	free, total        uint64
	freeInodes, inodes uint64
}

func look(dir string) (folder, error) {
	existing, err := existingParent(dir)
	if err != nil {
		return folder{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(existing, &fs); err != nil {
		return folder{}, fmt.Errorf("%s: %w", existing, err)
	}
	size := uint64(fs.Bsize) //nolint:gosec // the size of a block is positive
	return folder{kind: int64(fs.Type), free: fs.Bavail * size, total: fs.Blocks * size, freeInodes: fs.Ffree, inodes: fs.Files}, nil
}

func checkFolder(_ context.Context, m Machine) Finding {
	fs, err := look(m.Dir)
	if err != nil {
		return missing(err.Error(), "")
	}
	return judgeFolder(m.Dir, fs.kind)
}

// judgeFolder refuses file systems on which overlayfs cannot put its upper layer.
func judgeFolder(dir string, kind int64) Finding {
	const elsewhere = "set PERCH_STATE_DIR to a folder on ext4, xfs or btrfs"
	unfit := map[int64]string{
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "NFS", unix.RAMFS_MAGIC: "ramfs", unix.V9FS_MAGIC: "9p",
		unix.CIFS_SUPER_MAGIC: "CIFS", unix.SMB2_SUPER_MAGIC: "SMB", unix.MSDOS_SUPER_MAGIC: "FAT",
	}
	if name, bad := unfit[kind]; bad {
		return missing(fmt.Sprintf("%s is on %s, where images cannot be unpacked", dir, name), elsewhere)
	}
	switch kind {
	case unix.TMPFS_MAGIC:
		return warn(dir+" is in memory: all apps and data go when this machine is started again", elsewhere)
	case unix.FUSE_SUPER_MAGIC:
		return warn(dir+" is on FUSE, where images may not be unpacked", elsewhere)
	}
	return ok(dir + " is on a file system that images can be unpacked on")
}

// minFree is the disk space below which starting makes no sense: images and etcd would fail in the middle. Below lowFree
// the first larger image may not fit.
const (
	minFree   = 1 << 30
	lowFree   = 4 << 30
	lowInodes = 50_000 // a large image has as many files
)

func checkDisk(_ context.Context, m Machine) Finding {
	fs, err := look(m.Dir)
	if err != nil {
		return unknown(err)
	}
	return judgeDisk(m.Dir, fs)
}

func judgeDisk(dir string, fs folder) Finding {
	const cure = "free some space, or set PERCH_STATE_DIR to a folder on another disk"
	switch {
	case fs.free < minFree:
		return missing(fmt.Sprintf("the disk of %s is full: %d MiB are free, %d MiB are needed", dir, fs.free>>20, minFree>>20), cure)
	case fs.free < lowFree:
		return warn(fmt.Sprintf("the disk of %s is nearly full: %d MiB are free", dir, fs.free>>20), cure+"; perch system df shows what the cluster uses")
	case fs.inodes > 0 && fs.freeInodes < lowInodes: // btrfs counts none
		return warn(fmt.Sprintf("the disk of %s has room for %d more files only", dir, fs.freeInodes), "remove some files (df -i shows where they are), or set PERCH_STATE_DIR to a folder on another disk")
	}
	return ok(fmt.Sprintf("%d of %d GiB are free", fs.free>>30, fs.total>>30))
}

// longestSocket is the longest name below the node's folder that must fit into a socket address (108 bytes).
const longestSocket = "/run/containerd.sock.ttrpc"

func checkPath(_ context.Context, m Machine) Finding {
	if len(m.Dir)+len(longestSocket) < 108 {
		return ok(m.Dir + " is short enough for sockets in it")
	}
	return missing(fmt.Sprintf("the path %s is too long for sockets in it", m.Dir), "set PERCH_STATE_DIR to a shorter path")
}

func existingParent(dir string) (string, error) {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == "/" {
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}
