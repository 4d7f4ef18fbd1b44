// Package supervisor is the node's process on the host's side. It owns the sandbox: makes it, ties it to the network,
// publishes ports on 127.0.0.1, answers `perch cluster status` on a socket, and takes everything away again. When it is
// killed the sandbox ends with it. It knows nothing of Compose, images or charts.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/node/assets"
	"github.com/perch-k8s/perch/internal/node/containerd"
	"github.com/perch-k8s/perch/internal/node/files"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
	"github.com/perch-k8s/perch/internal/node/layout"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/publisher"
	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/settings"
)

// InsideAPIPort is the API server's port inside the sandbox; outside it has State.APIPort.
const InsideAPIPort = 6443

const (
	stopWithin  = 30 * time.Second // from the wish to stop to the end by force
	groupsAfter = 5 * time.Second  // for the control groups of killed processes
	scopeWithin = 10 * time.Second // for systemd to make a scope
)

// Options say which node, and how it meets the parts that are heavier than this package.
type Options struct {
	Layout  layout.Layout
	Control net.Listener // the control socket; closed at the end
}

// State is kept on disk: what has to be known, and undone, by the next process when this one is killed.
type State struct {
	Network network.Plan `json:"network"`
	APIPort int          `json:"apiPort"` // on 127.0.0.1
}

type supervisor struct {
	Options
	state     State
	settings  settings.Settings
	api       net.Listener // of the API server, on the host
	unlock    func()       // lets other nodes look for a subnet
	status    *recorder
	groups    sandbox.Cgroups
	stop      context.CancelCauseFunc
	inside    network.Namespace
	extracted chan error     // gets the end of the extraction of the carried programs
	ready     atomic.Bool    // whether the sandbox of now was ready at some time
	work      sync.WaitGroup // everything that ends with ctx
}

// Run makes the node and keeps it until ctx ends, somebody asks for a stop on the control socket, or the sandbox ends.
// Asked for, its end is nil.
func Run(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &supervisor{Options: o, status: newRecorder(), stop: stop}
	served := s.serveControl()
	err := s.keep(ctx)
	if err != nil {
		s.status.record(sandbox.Event{Component: Node, State: sandbox.Failed, Error: err.Error(), Time: time.Now()})
	} else {
		s.status.record(sandbox.Event{Component: Node, State: sandbox.Stopped, Time: time.Now()})
	}
	s.status.close()
	served()
	return err
}

// keep makes the sandbox anew when somebody, or a machine without memory, killed the first process of one that was ready. One
// that ends by itself, or before it was ready, has a fault that a restart would not mend.
func (s *supervisor) keep(ctx context.Context) error {
	for {
		s.ready.Store(false)
		err := s.run(ctx)
		if !killed(err) || !s.ready.Load() || ctx.Err() != nil {
			return err
		}
		s.status.record(sandbox.Event{Component: Node, State: sandbox.Exited, Error: err.Error(), Time: time.Now()})
	}
}

// killed says whether a signal ended the process whose end err is.
func killed(err error) bool {
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := ended.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

func (s *supervisor) run(ctx context.Context) (err error) {
	giveBack, err := Claim(ctx, s.Layout.Name)
	if err != nil {
		return err
	}
	defer giveBack()
	if s.unlock, err = lockHost(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.prepare(); err != nil {
		return errors.Join(err, s.clean())
	}
	defer func() { _ = s.api.Close() }()
	release, err := s.ownGroups(ctx)
	if err != nil {
		return errors.Join(err, s.clean())
	}
	defer release()
	first, err := s.startSandbox()
	if err != nil {
		return errors.Join(err, s.clean())
	}
	running, cancel := context.WithCancelCause(ctx)
	err = s.connect(running, first)
	if err == nil {
		s.work.Go(func() { s.follow(running, first, cancel) })
		select {
		case <-running.Done():
			err = causeOf(running)
		case err = <-first.ended:
			first.ended <- err
			err = fmt.Errorf("the node ended: %w", errors.Join(err, s.status.failure()))
		}
	}
	cancel(nil)
	first.end(stopWithin)
	s.work.Wait()
	return errors.Join(err, s.clean())
}

// causeOf is why ctx ended; an orderly stop is no error.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// prepare makes the folders, the carried programs and the plan of the network.
func (s *supervisor) prepare() error {
	l := s.Layout
	for _, dir := range []string{l.Temp()} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{l.Run(), l.Logs(), l.Temp(), l.Containerd(), l.Builder(), l.Kubernetes(), l.Volumes(), l.Programs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// Nobody else on this machine has anything to look for here, not even who knows the name of a volume: pods see what is
	// mounted for them, not the folders above it. Nodes of before let others pass.
	for _, dir := range []string{l.Dir, l.Volumes(), l.Containerd(), l.Programs()} {
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	s.extracted = make(chan error, 1)
	s.work.Go(func() { s.extracted <- assets.Extract(l.Programs()) }) // the network is made meanwhile
	return s.loadState()
}

// loadState reads what an earlier run chose, chooses what is missing, and writes it before anything is changed.
func (s *supervisor) loadState() error {
	old, err := ReadState(s.Layout)
	there := err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.settings, err = settings.Read(s.Layout.Settings()); err != nil {
		return err
	}
	wish, err := Wish(old, there, s.settings)
	if err != nil {
		return err
	}
	host, err := network.HostNetworks()
	if err != nil {
		return err
	}
	if s.state.Network, err = network.PlanFor(s.Layout.Name, wish, host); err != nil {
		return err
	}
	if err := network.EnableForwarding(); err != nil {
		return err
	}
	if s.api, err = listenAPI(old.APIPort); err != nil {
		return fmt.Errorf("the API server's port: %w", err)
	}
	s.state.APIPort = s.api.Addr().(*net.TCPAddr).Port
	s.status.setAPIPort(s.state.APIPort)
	if err := writeState(s.Layout, s.state); err != nil {
		return errors.Join(err, s.api.Close())
	}
	return nil
}

// listenAPI listens on the port wanted, or 6443, or any that is free. Who has it keeps it: a port that is only looked for
// may be another's when it is needed.
func listenAPI(wanted int) (net.Listener, error) {
	var err error
	for i, port := range []int{wanted, InsideAPIPort, 0} {
		if i == 0 && wanted == 0 { // nothing was chosen before
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(publisher.BindIP, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, err
}

// connect ties the new sandbox to the network, starts what serves it from the host, and lets the first process go on.
func (s *supervisor) connect(ctx context.Context, first *firstProcess) error {
	var err error
	if s.inside, err = network.OfProcess(first.pid); err != nil {
		return err
	}
	if err := s.state.Network.Connect(ctx, s.inside, first.pid); err != nil {
		return err
	}
	s.unlock() // the subnet is seen to be taken
	s.work.Go(func() { s.report("firewall", s.state.Network.OpenDoors(ctx)) })
	s.work.Go(func() {
		s.report("dns-relay", network.Relay(ctx, s.inside, func(name string) []string { return s.settings.Resolvers(name, network.HostServers) }))
	})
	context.AfterFunc(ctx, func() { _ = s.api.Close() })
	inside := net.JoinHostPort("127.0.0.1", strconv.Itoa(InsideAPIPort))
	s.work.Go(func() { network.ForwardTCP(ctx, s.api, s.inside.Dial, inside) })
	if err := <-s.extracted; err != nil {
		return err
	}
	return first.release(s.spec())
}

// report records the end of a part of this process.
func (s *supervisor) report(component string, err error) {
	if err != nil {
		s.status.record(sandbox.Event{Component: component, State: sandbox.Exited, Error: err.Error(), Time: time.Now()})
	}
}

// follow reads the sandbox's events, and does what waits for them.
func (s *supervisor) follow(ctx context.Context, first *firstProcess, cancel context.CancelCauseFunc) {
	lines := json.NewDecoder(first.events)
	var image, publish sync.Once
	for {
		var e sandbox.Event
		if err := lines.Decode(&e); err != nil {
			return // the sandbox ended
		}
		s.status.record(e)
		if e.Component == Containerd && e.State == sandbox.Running {
			s.work.Go(func() { s.afterContainerd(ctx, cancel, &image) })
		}
		if e.Component == Kubernetes && e.State == sandbox.Ready {
			publish.Do(func() { s.work.Go(func() { s.afterKubernetes(ctx, cancel) }) })
		}
	}
}

// afterContainerd tells when containerd answers, each time it was started. The first time it puts the pods' sandbox image
// into the store: without it no pod starts.
func (s *supervisor) afterContainerd(ctx context.Context, cancel context.CancelCauseFunc, first *sync.Once) {
	socket := s.Layout.ContainerdSocket()
	if err := containerd.WaitReady(ctx, socket); err != nil {
		return // ctx ended: nothing else ends the waiting
	}
	s.status.record(sandbox.Event{Component: Containerd, State: sandbox.Ready, Time: time.Now()})
	first.Do(func() {
		err := containerd.EnsureImage(ctx, socket, assets.PauseRef, pauseArchive)
		if err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("the pods' sandbox image: %w", err))
		}
	})
}

func pauseArchive() ([]byte, error) {
	data, _, err := assets.PauseArchive()
	return data, err
}

// afterKubernetes publishes ports, and then calls the node ready.
func (s *supervisor) afterKubernetes(ctx context.Context, cancel context.CancelCauseFunc) {
	client, err := s.client()
	if err != nil {
		cancel(err)
		return
	}
	p := &publisher.Publisher{Client: client, Dial: s.inside.Dial}
	s.status.setPublisher(p)
	s.ready.Store(true)
	s.status.record(sandbox.Event{Component: Node, State: sandbox.Ready, Time: time.Now()})
	s.report("publisher", p.Run(ctx))
}

// client reaches the API server from inside the sandbox, not through the host's port. It names the files of its certificate,
// which is renewed while the node runs.
func (s *supervisor) client() (kubernetes.Interface, error) {
	keys := pki.Files(s.Layout.PKI())
	return kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(InsideAPIPort)), Dial: s.inside.Dial,
		TLSClientConfig: rest.TLSClientConfig{CAFile: keys.Cert(pki.CA), CertFile: keys.Cert(pki.Admin), KeyFile: keys.Key(pki.Admin)},
	})
}

// clean removes what this process made on the host. Every step runs.
func (s *supervisor) clean() error {
	s.unlock() // Clean takes it itself
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return Clean(ctx, s.Layout, s.state)
}

// Clean removes what a supervisor made on the host: the cable, the table, the control groups, and the IP forwarding if it
// was a node that switched it on and this one is the last. It works for a supervisor that was killed too; every step runs.
func Clean(ctx context.Context, l layout.Layout, state State) error {
	var errs []error
	if state.Network.Table != "" {
		errs = append(errs, state.Network.Disconnect(ctx))
	}
	errs = append(errs, restoreForwarding(ctx, l.Name))
	groups, err := hostGroups(l.Name)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	groups.Kill()
	return errors.Join(append(errs, groups.Remove(groupsAfter))...)
}

func restoreForwarding(ctx context.Context, name string) error {
	unlock, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if others, err := othersRun(name); err != nil || others {
		return err
	}
	return network.RestoreForwarding()
}

// ReadState reads what the last supervisor wrote; os.ErrNotExist when there was none.
func ReadState(l layout.Layout) (State, error) {
	var state State
	data, err := os.ReadFile(l.State())
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("%s: %w", l.State(), err)
	}
	return state, nil
}

// writeState replaces the file durably: of an empty one, after a power cut, no later start could make anything.
func writeState(l layout.Layout, state State) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return files.ReplaceDurably(l.State(), data)
}
