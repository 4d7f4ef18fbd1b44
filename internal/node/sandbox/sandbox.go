// Package sandbox is the closed room in which the node lives: namespaces, mounts, control groups, and the first process,
// which reaps and keeps the others running. It knows how to run programs, not which: package supervisor gives the list.
// When the first process ends, the kernel ends everything in the room, and nothing of it is left on the host but the
// control group folders, which Cgroups.Remove removes.
package sandbox

import (
	"os"
	"time"
)

// State is what a child of the first process is doing.
type State string

// The life of a child: starting → running → ready, and exited → starting again, or failed for good.
const (
	Starting State = "starting"
	Running  State = "running" // the program was started
	Ready    State = "ready"   // it said that it does its work
	Exited   State = "exited"  // it ended by itself and will be started again
	Failed   State = "failed"  // it ended too often: the room is given up
	Stopped  State = "stopped" // it ended because it was told to
)

// Event is one change of one child. Events go as JSON lines through a pipe, from the first process and from the
// children themselves.
type Event struct {
	Component string    `json:"component"`
	State     State     `json:"state"`
	PID       int       `json:"pid,omitempty"`   // as the sandbox numbers it
	Error     string    `json:"error,omitempty"` // why it ended, with the last lines of its log
	Time      time.Time `json:"time"`
}

// Child is one program that the first process keeps running.
type Child struct {
	Name  string
	Args  []string      // Args[0] is the program's path
	Env   []string      // the whole environment
	Log   string        // file for its output; it rotates at 10 MiB
	Files []*os.File    // given to it from descriptor 3 on
	Grace time.Duration // from SIGTERM to SIGKILL
	// OnDemand, when set, is a listening socket: the program is started when somebody connects, and its end is no
	// failure. It gets the socket as its last descriptor.
	OnDemand *os.File
}
