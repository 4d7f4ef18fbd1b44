package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Room is what the first process makes of its namespaces before it starts anything.
type Room struct {
	Name       string // of the cluster: names the control groups
	Hostname   string
	Keep       string // the node's folder
	ResolvConf string
	Hosts      string
	Sysctls    map[string]string // see Mounts
}

// Furnish makes the room. It is called once, by the first process, in namespaces of its own.
func (r Room) Furnish() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	groups, err := HostCgroups(mountinfo, r.Name)
	if err != nil {
		return err
	}
	m := Mounts{Keep: r.Keep, ResolvConf: r.ResolvConf, Hosts: r.Hosts, Cgroups: groups, Sysctls: r.Sysctls}
	if err := m.Apply(); err != nil {
		return err
	}
	if err := groups.Settle(); err != nil {
		return err
	}
	return unix.Sethostname([]byte(r.Hostname))
}

// EventWriter returns a function that writes events as JSON lines. A line is written in one piece, so that several
// processes may share the pipe.
func EventWriter(w io.Writer) func(Event) {
	var mu sync.Mutex
	return func(e Event) {
		line, err := json.Marshal(e)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(append(line, '\n'))
	}
}

// KeepAll keeps the children running until ctx ends or one of them is given up. Then it stops them one by one in the
// order of the list, calling between after each with its name, so that containers can be stopped while containerd is
// still there to do it.
func KeepAll(ctx context.Context, k Keeper, children []Child, between func(stopped string)) error {
	group, failed := errgroup.WithContext(ctx)
	stops := make([]context.CancelFunc, len(children))
	ended := make([]chan struct{}, len(children))
	for i, c := range children {
		var own context.Context
		own, stops[i] = context.WithCancel(context.WithoutCancel(ctx))
		ended[i] = make(chan struct{})
		group.Go(func() error {
			defer close(ended[i])
			return k.Keep(own, c)
		})
	}
	<-failed.Done()
	for i, c := range children {
		stops[i]()
		<-ended[i]
		between(c.Name)
	}
	return group.Wait()
}
