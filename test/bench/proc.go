package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// procFS is the folder of the process file system.
type procFS string

// process is one process as /proc has it.
type process struct {
	pid, parent int
	args        []string
	ticks       uint64 // CPU time used, in clock ticks of 10 ms
}

// all lists every process. Those that end meanwhile are left out.
func (p procFS) all() ([]process, error) {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil, err
	}
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		one, err := p.read(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || (err != nil && strings.Contains(err.Error(), "no such process"))
}

func (p procFS) read(pid int) (process, error) {
	dir := filepath.Join(string(p), strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, err
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return process{}, err
	}
	// The name is in parentheses and may hold anything; after it come state, parent, …, utime and stime. proc(5)
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return process{}, fmt.Errorf("%s/stat: cannot be read: %q", dir, stat)
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseUint(fields[11], 10, 64)
	system, err3 := strconv.ParseUint(fields[12], 10, 64)
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	return process{pid: pid, parent: parent, args: args, ticks: user + system}, errors.Join(err1, err2, err3)
}

// pss is the proportional share of memory of one process in bytes: what it uses alone, and its part of what it shares.
func (p procFS) pss(pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join(string(p), strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no Pss", pid)
}

// platform are the processes of the node called name: its supervisor, the shell that watches it, and all below, but not what
// runs in containers.
func platform(all []process, name string) []process {
	below := map[int][]process{}
	supervises := map[int]bool{}
	for _, one := range all {
		below[one.parent] = append(below[one.parent], one)
		at := slices.Index(one.args, "supervisor")
		supervises[one.pid] = at > 0 && at+1 < len(one.args) && one.args[at-1] == "node" && one.args[at+1] == name
	}
	var todo []process
	for _, one := range all {
		if supervises[one.pid] && !supervises[one.parent] {
			todo = append(todo, one)
		}
	}
	return under(todo, below)
}

// treeOf are the process of that number and all below, but not what runs in containers.
func treeOf(all []process, pid int) []process {
	below := map[int][]process{}
	var todo []process
	for _, one := range all {
		below[one.parent] = append(below[one.parent], one)
		if one.pid == pid {
			todo = append(todo, one)
		}
	}
	return under(todo, below)
}

// under are these processes and all below them, but not what runs in containers.
func under(todo []process, below map[int][]process) []process {
	var list []process
	for len(todo) > 0 {
		one := todo[0]
		todo = todo[1:]
		list = append(list, one)
		for _, child := range below[one.pid] {
			if !inContainer(one, child) {
				todo = append(todo, child)
			}
		}
	}
	return list
}

// inContainer says whether child is a user's process: whatever a shim started, except the pause of a pod.
func inContainer(parent, child process) bool {
	return strings.HasSuffix(parent.args[0], "containerd-shim-runc-v2") && child.args[0] != "/pause"
}

// role is what a process of the platform is called in the report.
func (p process) role() string {
	if len(p.args) > 2 && p.args[1] == "node" {
		return p.args[2]
	}
	return filepath.Base(p.args[0])
}
