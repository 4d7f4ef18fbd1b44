package secrets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
)

// Memory is a folder for this user alone in a file system that is in memory: what is written there is on no disk, swap
// aside. It goes when Remove is called, and when this process ends in any other way.
type Memory struct {
	Dir string

	guard *exec.Cmd
	alive io.Closer // the guard waits for its other end
}

// guardScript removes a folder as soon as its standard input ends: nothing is left even after kill -9.
const guardScript = `read -r _; exec rm -rf -- "$1"`

// NewMemory makes one in the first of the places that is in memory and can be written.
func NewMemory(places []string) (*Memory, error) {
	var why []error
	for _, place := range places {
		m, err := memoryIn(place)
		if err == nil {
			return m, nil
		}
		why = append(why, fmt.Errorf("%s: %w", place, err))
	}
	return nil, fault.New(fault.Other, "use perch secrets set NAME, or perch secrets import - , which need no file in the clear",
		"no folder in memory for the text: %w", errors.Join(why...))
}

func memoryIn(place string) (*Memory, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(place, &fs); err != nil {
		return nil, err
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return nil, errors.New("it is on a disk")
	}
	dir, err := os.MkdirTemp(place, "perch-secrets-") // 0700
	if err != nil {
		return nil, err
	}
	m := &Memory{Dir: dir}
	if err := m.watch(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

// watch starts the guard, in a session of its own so that no Ctrl-C and no closed terminal reaches it.
func (m *Memory) watch() error {
	end, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer end.Close()
	m.guard = exec.Command("sh", "-c", guardScript, "sh", m.Dir)
	m.guard.Stdin = end
	m.guard.Dir = "/"
	m.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.guard.Start(); err != nil {
		return errors.Join(err, alive.Close())
	}
	m.alive = alive
	return nil
}

// Remove removes the folder and all in it.
func (m *Memory) Remove() error {
	return errors.Join(os.RemoveAll(m.Dir), m.alive.Close(), m.guard.Wait())
}
