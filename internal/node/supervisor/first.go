package supervisor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/perch-k8s/perch/internal/node/assets"
	"github.com/perch-k8s/perch/internal/node/layout"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

// Names of the components, as status shows them.
const (
	Node       = "node" // the whole
	Containerd = "containerd"
	Kubernetes = "kubernetes"
	Builder    = "builder"
)

// The descriptors that the first process finds open.
const (
	SpecFD    = 3 // its Spec, as JSON
	EventsFD  = 4 // where it and its children write events
	BuilderFD = 5 // the listening socket of the builder
)

// Spec is what the first process must know. It is sent when the network is there.
type Spec struct {
	Layout       layout.Layout `json:"layout"`
	Room         sandbox.Room  `json:"room"`
	NodeName     string        `json:"nodeName"`
	Network      network.Plan  `json:"network"`
	SandboxImage string        `json:"sandboxImage"`
	Nameserver   string        `json:"nameserver"` // the DNS relay, as the sandbox sees it
	BuildCache   int64         `json:"buildCache"` // bytes
	Env          []string      `json:"env"`        // of the children
}

func (s *supervisor) spec() Spec {
	name := s.Layout.Name
	plan := s.state.Network
	node := plan.NodeIP.Addr().String()
	return Spec{
		Layout: s.Layout, NodeName: name, Network: plan, SandboxImage: assets.PauseRef, Nameserver: network.RelayIP,
		BuildCache: s.buildCache(), Env: exempt(childEnv(os.Environ(), s.Layout), insideNames(plan)...),
		Room: sandbox.Room{
			Name: name, Hostname: name, Keep: s.Layout.Dir,
			ResolvConf: "nameserver " + network.RelayIP + "\noptions timeout:2 attempts:2\n",
			Hosts:      fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", node, name),
			Sysctls:    kubeletSysctls(),
		},
	}
}

// kubeletSysctls are the settings that the kubelet makes on its machine. It finds them made: a laptop is not to restart after
// a driver's mistake, or to hand out memory that it has not, since somebody tried an app, and to go on so when the cluster
// is deleted.
func kubeletSysctls() map[string]string {
	return map[string]string{
		sysctl.VMOvercommitMemory: strconv.Itoa(sysctl.VMOvercommitMemoryAlways),
		sysctl.VMPanicOnOOM:       strconv.Itoa(sysctl.VMPanicOnOOMInvokeOOMKiller),
		sysctl.KernelPanic:        strconv.Itoa(sysctl.KernelPanicRebootTimeout),
		sysctl.KernelPanicOnOops:  strconv.Itoa(sysctl.KernelPanicOnOopsAlways),
		sysctl.RootMaxKeys:        strconv.Itoa(sysctl.RootMaxKeysSetting),
		sysctl.RootMaxBytes:       strconv.Itoa(sysctl.RootMaxBytesSetting),
	}
}

// childEnv is the environment of everything inside: the way to the outside (proxies, certificates), and nothing else
// that happened to be set where the node was started.
func childEnv(environ []string, l layout.Layout) []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	env := []string{"HOME=/root", "PATH=" + l.Programs() + ":" + path, "TMPDIR=" + l.Temp()}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ", "GODEBUG":
			env = append(env, entry)
		}
	}
	slices.Sort(env)
	return env
}

// firstProcess is the sandbox's process 1, as the host sees it.
type firstProcess struct {
	pid    int
	spec   *os.File
	events *os.File
	ended  chan error // holds its end once it is there
}

// startSandbox starts the first process in namespaces of its own, of which the control groups are those that this process
// is in. It waits there for its Spec.
func (s *supervisor) startSandbox() (*firstProcess, error) {
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = specRead.Close() }()
	eventsRead, eventsWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = eventsWrite.Close() }()
	builder, err := listenFile(s.Layout.BuilderSocket())
	if err != nil {
		return nil, err
	}
	defer func() { _ = builder.Close() }()
	log, err := os.OpenFile(s.Layout.Log("init"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("/proc/self/exe", "node", "init")
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{specRead, eventsWrite, builder}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	first := &firstProcess{spec: specWrite, events: eventsRead, ended: make(chan error, 1)}
	started := make(chan error, 1)
	go first.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("namespaces of the sandbox: %w", err)
	}
	return first, s.groups.Leave()
}

// run starts and awaits the process on one thread: the kernel ends it with the thread that started it, not only with the
// whole process.
func (f *firstProcess) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	err := cmd.Start()
	if err == nil {
		f.pid = cmd.Process.Pid
	}
	started <- err
	if err == nil {
		f.ended <- cmp.Or(cmd.Wait(), error(errEnded))
	}
}

type endedError struct{}

func (endedError) Error() string { return "its first process ended" }

var errEnded = endedError{}

// release sends the Spec: the first process goes on.
func (f *firstProcess) release(spec Spec) error {
	if err := json.NewEncoder(f.spec).Encode(spec); err != nil {
		return err
	}
	return f.spec.Close()
}

// end asks the first process to stop everything, forces it after a while, and returns when nothing of it is left.
func (f *firstProcess) end(within time.Duration) {
	_ = f.spec.Close()
	_ = syscall.Kill(f.pid, syscall.SIGTERM)
	select {
	case err := <-f.ended:
		f.ended <- err
	case <-time.After(within):
		_ = syscall.Kill(f.pid, syscall.SIGKILL)
		f.ended <- <-f.ended
	}
}

// listenFile is a listening socket as a file that a child can be given.
func listenFile(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}
