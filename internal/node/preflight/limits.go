package preflight

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inotify is what one user may have of what follows files, and has.
type inotify struct {
	instances, watches int
	used               int // instances of root; -1: not known
}

func checkInotify(_ context.Context, m Machine) Finding {
	instances, err := readInt(sysctlFile("fs.inotify.max_user_instances"))
	if err != nil {
		return unknown(err)
	}
	watches, err := readInt(sysctlFile("fs.inotify.max_user_watches"))
	if err != nil {
		return unknown(err)
	}
	used := -1
	if m.UID == 0 {
		used = inotifyInUse()
	}
	return judgeInotify(inotify{instances, watches, used})
}

// What is needed, and what a repair sets. The node's own parts take some ten instances, and so does an app that follows
// its files in each of its pods.
const (
	leastInstances, goodInstances = 128, 1024
	leastWatches, goodWatches     = 8192, 524288
	spareInstances                = 40
)

func judgeInotify(i inotify) Finding {
	var what, cures []string
	f := ok(fmt.Sprintf("%d instances, %d watches", i.instances, i.watches))
	note := func(text, name string, good int) {
		what, cures = append(what, text), append(cures, fmt.Sprintf("sysctl %s=%d", name, good))
		f.Repairs = append(f.Repairs, sysctl(name, good))
	}
	switch {
	case i.instances < leastInstances:
		note(fmt.Sprintf("fs.inotify.max_user_instances is %d: log following may fail", i.instances), "fs.inotify.max_user_instances", goodInstances)
	case i.used >= 0 && i.instances-i.used < spareInstances:
		note(fmt.Sprintf("fs.inotify.max_user_instances is %d, and root has %d of them in use: log following may fail", i.instances, i.used), "fs.inotify.max_user_instances", goodInstances)
	}
	if i.watches < leastWatches {
		note(fmt.Sprintf("fs.inotify.max_user_watches is %d: log following may fail", i.watches), "fs.inotify.max_user_watches", goodWatches)
	}
	if len(what) > 0 {
		f.State, f.What, f.Cure = Warn, strings.Join(what, "; "), strings.Join(cures, " && ")+"; a file in /etc/sysctl.d keeps it so"
	}
	return f
}

// inotifyInUse counts the instances that root's processes hold.
func inotifyInUse() int {
	count := 0
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		var owner unix.Stat_t
		if unix.Stat(dir, &owner) != nil || owner.Uid != 0 {
			continue
		}
		open, _ := os.ReadDir(dir + "/fd")
		for _, fd := range open {
			if target, _ := os.Readlink(dir + "/fd/" + fd.Name()); target == "anon_inode:inotify" {
				count++
			}
		}
	}
	return count
}

func checkFiles(context.Context, Machine) Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return unknown(err)
	}
	data, err := os.ReadFile(sysctlFile("fs.file-nr"))
	if err != nil {
		return unknown(err)
	}
	fields := strings.Fields(string(data)) // open, always 0, most
	if len(fields) < 3 {
		return unknown(fmt.Errorf("fs.file-nr is %q", data))
	}
	open, _ := strconv.ParseUint(fields[0], 10, 64)
	most, _ := strconv.ParseUint(fields[2], 10, 64)
	return judgeFiles(limit.Max, open, most)
}

const leastFiles = 8192 // two for each connection through a published port, and pods inherit it

// judgeFiles takes the hard limit of open files of a process, and what is open and may be open on the machine.
func judgeFiles(hard, open, most uint64) Finding {
	if hard < leastFiles {
		return warn(fmt.Sprintf("a process may have %d files open: published ports, databases and builds may run out", hard), "ulimit -Hn 65536 as root, or LimitNOFILE of the service that starts it")
	}
	if most > 0 && open > most/10*9 {
		return warn(fmt.Sprintf("%d of %d files that this machine may have open are", open, most), fmt.Sprintf("sysctl fs.file-max=%d", 2*most))
	}
	return ok(fmt.Sprintf("%d for a process", hard))
}

func checkPIDs(context.Context, Machine) Finding {
	most, err := readInt(sysctlFile("kernel.pid_max"))
	if err != nil {
		return unknown(err)
	}
	threads, err := readInt(sysctlFile("kernel.threads-max"))
	if err != nil {
		return unknown(err)
	}
	return judgePIDs(most, threads)
}

const leastPIDs = 8192 // the node has some hundred threads, and each pod some ten to some hundred

func judgePIDs(most, threads int) Finding {
	for _, l := range []struct {
		name  string
		value int
	}{{"kernel.pid_max", most}, {"kernel.threads-max", threads}} {
		if l.value < leastPIDs {
			f := warn(fmt.Sprintf("%s is %d: pods may not be able to start processes", l.name, l.value), fmt.Sprintf("sysctl %s=%d", l.name, 4*leastPIDs))
			f.Repairs = []Repair{sysctl(l.name, 4*leastPIDs)}
			return f
		}
	}
	return ok(fmt.Sprintf("%d processes, %d threads", most, threads))
}

func checkSwap(context.Context, Machine) Finding {
	data, err := os.ReadFile("/proc/swaps")
	if err != nil || strings.Count(string(data), "\n") < 2 { // a line for the header
		return ok("none")
	}
	return ok("there is some; the node takes that")
}
