// Package systemd asks the machine's systemd for a control group of the node's own, as everybody must who makes control
// groups where systemd is the init: all others are systemd's to change. It knows nothing of what runs in it.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	manager "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Slice is the branch of the tree of control groups that scopes are put into. It is there on every machine with
// systemd, so that nothing of it has to be taken away again.
const Slice = "system.slice"

// Scope is a unit of systemd around processes that systemd did not start. Its control group is delegated: systemd leaves
// what is below it alone, whatever it is told to reload, and it does not end with the session in which it was started.
type Scope struct {
	Name        string // with its suffix: perch-NAME.scope
	Description string
	PID         int           // whom to put into it
	Dir         string        // what must stay mounted as long as it lives
	StopWithin  time.Duration // after so long systemd ends it by force
}

// Booted tells whether systemd is this machine's init, as sd_booted(3) does.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Start makes the scope and returns when the process is in it. From then on systemd calls stop when the scope has to end:
// the machine is shut down, or somebody stops the unit. The scope ends by itself with its last process. What is returned
// lets go of systemd; a stop then is a SIGTERM to every process of the scope.
func (s Scope) Start(ctx context.Context, stop func()) (release func(), err error) {
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, fmt.Errorf("system bus: %w", err)
	}
	// Signals to one receiver need no subscription.
	signals := make(chan *dbus.Signal, 8)
	bus.Signal(signals)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for signal := range signals {
			if signal.Name == "org.freedesktop.systemd1.Scope.RequestStop" {
				stop()
			}
		}
	}()
	release = func() {
		_ = bus.Close() // closes signals
		<-listening
	}
	if err := s.start(ctx, bus.Names()[0]); err != nil {
		release()
		return nil, fmt.Errorf("systemd: scope %s: %w", s.Name, err)
	}
	return release, nil
}

// start makes the unit, as soon as there is none of its name: one whose processes were killed a moment ago still is.
func (s Scope) start(ctx context.Context, controller string) error {
	systemd, err := manager.NewSystemConnectionContext(ctx)
	if err != nil {
		return err
	}
	defer systemd.Close()
	ended := make(chan string, 1)
	for {
		_, err := systemd.StartTransientUnitContext(ctx, s.Name, "fail", s.properties(controller), ended)
		if err == nil {
			break
		}
		if !exists(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(retryAfter):
		}
	}
	select {
	case result := <-ended:
		if result != "done" {
			return fmt.Errorf("the job to start it: %s", result)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

const retryAfter = 20 * time.Millisecond

// exists tells whether there is a unit of that name already.
func exists(err error) bool {
	var failure dbus.Error
	return errors.As(err, &failure) && failure.Name == "org.freedesktop.systemd1.UnitExists"
}

// properties are what systemd.scope(5) and systemd.resource-control(5) say.
func (s Scope) properties(controller string) []manager.Property {
	property := func(name string, value any) manager.Property {
		return manager.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	return []manager.Property{
		property("Description", s.Description),
		property("Slice", Slice),
		property("PIDs", []uint32{uint32(s.PID)}),
		property("Delegate", true),
		// Otherwise a stop is a SIGTERM to everything at once, and databases lose containerd before they are asked to end.
		property("Controller", controller),
		property("TimeoutStopUSec", uint64(s.StopWithin.Microseconds())),
		// The bus and the disk are needed until the end.
		property("After", []string{"dbus.service"}),
		property("RequiresMountsFor", []string{s.Dir}),
		property("TasksMax", uint64(math.MaxUint64)), // the default is made for a service, not for a node with pods
		property("CollectMode", "inactive-or-failed"),
	}
}
