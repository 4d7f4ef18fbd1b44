// Package roles is what the one binary becomes when it starts itself again as a part of the node: the supervisor on the
// host; the first process, containerd, Kubernetes and the builder inside the sandbox. Each role is a few lines that hand
// over to the package that does the work.
package roles

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins" // containerd's plugins
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/node/builder"
	"github.com/perch-k8s/perch/internal/node/containerd"
	"github.com/perch-k8s/perch/internal/node/kubernetes"
	"github.com/perch-k8s/perch/internal/node/layout"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/supervisor"
)

// Descriptors that a role finds open beside the standard ones.
const (
	controlFD          = 3 // supervisor: the listening control socket
	kubernetesEventsFD = 3 // kubernetes: where it writes events
	builderListenerFD  = 3 // builder: the listening socket
)

// smallHeap is the garbage collector's percentage for the two roles that only wait: memory counts, not speed.
const smallHeap = 25

// started is how long after its begin a role counts as started: the whole node takes 2 to 7 s.
const started = 15 * time.Second

// giveBack gives back the memory that the start alone needed: garbage, and pages of the program (decision 0020).
func giveBack() {
	debug.FreeOSMemory()
	if err := sandbox.KeepFilesSmall(); err != nil {
		fmt.Fprintln(os.Stderr, "more memory than need be:", err) // that is all that is at stake
	}
}

// Main runs a role until it ends or is told to by SIGTERM. args are those after the role's name.
func Main(ctx context.Context, role string, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	time.AfterFunc(started, giveBack)
	switch role {
	case "supervisor":
		debug.SetGCPercent(smallHeap)
		return supervise(ctx, args)
	case "init":
		debug.SetGCPercent(smallHeap)
		return first(ctx)
	case supervisor.Containerd:
		return command.App().Run(ctx, append([]string{"containerd"}, args...))
	case supervisor.Kubernetes:
		return runKubernetes(ctx, args)
	case supervisor.Builder:
		return build(ctx, args)
	}
	return fmt.Errorf("no part of the node is called %q", role)
}

// supervise is `perch node supervisor NAME DIR`.
func supervise(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: perch node supervisor NAME DIR")
	}
	control, err := net.FileListener(os.NewFile(controlFD, "control"))
	if err != nil {
		return err
	}
	l := layout.Layout{Name: args[0], Dir: args[1]}
	log := boundLog(l.Log("supervisor"))
	defer func() { _ = log.Close() }()
	return supervisor.Run(ctx, supervisor.Options{
		Layout:  l,
		Control: control,
	})
}

// first is the sandbox's process 1.
func first(ctx context.Context) error {
	var spec supervisor.Spec
	pipe := os.NewFile(supervisor.SpecFD, "spec")
	if err := json.NewDecoder(pipe).Decode(&spec); err != nil {
		return fmt.Errorf("the supervisor went away: %w", err)
	}
	_ = pipe.Close()
	if err := spec.Room.Furnish(); err != nil {
		return err
	}
	events := os.NewFile(supervisor.EventsFD, "events")
	children, err := childrenOf(spec, events, os.NewFile(supervisor.BuilderFD, "builder"))
	if err != nil {
		return err
	}
	reaper := sandbox.NewReaper()
	reaping, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReaping()
	go reaper.Run(reaping)
	keeper := sandbox.Keeper{
		Reaper: reaper, Report: sandbox.EventWriter(events),
		Excuse: func() error { return sandbox.DiskFull(spec.Layout.Dir) },
	}
	return sandbox.KeepAll(ctx, keeper, children, func(stopped string) {
		if stopped != supervisor.Kubernetes {
			return
		}
		// Now nobody starts containers again: end them in peace, so that databases close their files.
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopContainers)
		defer cancel()
		if err := containerd.StopAll(stopping, spec.Layout.ContainerdSocket()); err != nil {
			keeper.Report(sandbox.Event{Component: supervisor.Containerd, State: sandbox.Running, Error: err.Error(), Time: time.Now()})
		}
	})
}

// How long each child may take to stop. Together they stay below the supervisor's own limit.
const (
	stopKubernetes = 3 * time.Second
	stopContainers = 15 * time.Second
	stopContainerd = 5 * time.Second
	stopBuilder    = 2 * time.Second
)

// childrenOf writes the children's configuration and returns them in the order in which they are stopped.
func childrenOf(spec supervisor.Spec, events, builderSocket *os.File) ([]sandbox.Child, error) {
	l := spec.Layout
	config, err := containerdConfig(spec)
	if err != nil {
		return nil, err
	}
	child := func(name string, grace time.Duration, args ...string) sandbox.Child {
		argv := append([]string{"/proc/self/exe", "node", name}, args...)
		return sandbox.Child{Name: name, Args: argv, Env: spec.Env, Log: l.Log(name), Grace: grace}
	}
	specFile := filepath.Join(l.Run(), "spec.json")
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(specFile, data, 0o600); err != nil {
		return nil, err
	}
	kube := child(supervisor.Kubernetes, stopKubernetes, specFile)
	kube.Files = []*os.File{events}
	// At rest it then has 350 MB resident, 206 of them its own (measured with an empty node).
	kube.Env = append(slices.Clone(spec.Env), "GOGC=30", "ETCD_CLIENT_DEBUG=error")
	build := child(supervisor.Builder, stopBuilder, specFile)
	build.OnDemand = builderSocket
	runtime := child(supervisor.Containerd, stopContainerd, "--config", config)
	runtime.Env = append(slices.Clone(spec.Env), "GOGC=50")
	return []sandbox.Child{build, kube, runtime}, nil
}

func containerdConfig(spec supervisor.Spec) (string, error) {
	l := spec.Layout
	self, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	return containerd.WriteConfig(
		containerd.Paths{Root: l.Containerd(), State: "/run/containerd", Socket: l.ContainerdSocket(), Bin: l.Programs(), Config: filepath.Join(l.Run(), "containerd"), Registries: l.Registries()},
		containerd.Options{SandboxImage: spec.SandboxImage, Ranges: podRanges(spec.Network), MTU: spec.Network.MTU, KeepOOMScore: sandbox.HasCapability(string(self), unix.CAP_SYS_RESOURCE)},
	)
}

// podRanges are the networks that each pod gets an address of. By IPv6 a pod is told no way to the outside where there is none:
// who has a name with addresses of both kinds then goes by IPv4 at once.
func podRanges(p network.Plan) []containerd.Range {
	ranges := []containerd.Range{{Subnet: p.PodCIDR, Routes: []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}}}
	switch {
	case p.IPv6.Out():
		ranges = append(ranges, containerd.Range{Subnet: p.IPv6.PodCIDR, Routes: []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}})
	case p.IPv6.On():
		ranges = append(ranges, containerd.Range{Subnet: p.IPv6.PodCIDR, Routes: []netip.Prefix{p.IPv6.ServiceCIDR, p.IPv6.NodeIP.Masked()}})
	}
	return ranges
}

func readSpec(args []string) (supervisor.Spec, error) {
	var spec supervisor.Spec
	if len(args) != 1 {
		return spec, fmt.Errorf("a spec file is needed")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return spec, err
	}
	return spec, json.Unmarshal(data, &spec)
}

// runKubernetes is the one process with every part of Kubernetes.
func runKubernetes(ctx context.Context, args []string) error {
	spec, err := readSpec(args)
	if err != nil {
		return err
	}
	l := spec.Layout
	tell := sandbox.EventWriter(os.NewFile(kubernetesEventsFD, "events"))
	return kubernetes.Run(ctx, kubernetes.Config{
		Dir: l.Kubernetes(), RunDir: "/run/perch", LogDir: l.Logs(), VolumesDir: l.Volumes(),
		NodeName: spec.NodeName, APIPort: supervisor.InsideAPIPort, ClusterDomain: "cluster.local",
		Families:         families(spec.Network),
		PolicyTable:      network.PolicyTable,
		ContainerdSocket: l.ContainerdSocket(),
		DNSUpstream:      net.JoinHostPort(spec.Nameserver, "53"), HostIP: spec.Network.HostIP.Addr().String(), ResolvConf: sandbox.ResolvConf,
	}, func(e kubernetes.Event) {
		name := e.Component
		if name == supervisor.Kubernetes && e.State == kubernetes.Starting {
			return // the keeper said so; a second time would count as a restart
		}
		if name != supervisor.Kubernetes {
			name = supervisor.Kubernetes + "/" + name
		}
		tell(sandbox.Event{Component: name, State: sandbox.State(e.State), Error: e.Error, Time: time.Now()})
	})
}

// families are the networks of Kubernetes: IPv4, and IPv6 when there is.
func families(p network.Plan) []kubernetes.Family {
	all := []kubernetes.Family{{NodeIP: p.NodeIP.Addr(), PodCIDR: p.PodCIDR, ServiceCIDR: p.ServiceCIDR}}
	if p.IPv6.On() {
		all = append(all, kubernetes.Family{NodeIP: p.IPv6.NodeIP.Addr(), PodCIDR: p.IPv6.PodCIDR, ServiceCIDR: p.IPv6.ServiceCIDR})
	}
	return all
}

// build is the builder, started by a connection to its socket and ended when nobody is connected for a while.
func build(ctx context.Context, args []string) error {
	spec, err := readSpec(args)
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(builderListenerFD, "builder"))
	if err != nil {
		return err
	}
	l := spec.Layout
	return builder.Run(ctx, builder.Config{
		Listener: listener, Root: l.Builder(), Containerd: l.ContainerdSocket(), Runc: filepath.Join(l.Programs(), "runc"),
		Registries: containerd.RegistryFolders(l.Registries()), Nameservers: []string{spec.Nameserver}, Keep: spec.BuildCache,
	})
}
