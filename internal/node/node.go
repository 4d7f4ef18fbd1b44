// Package node is the embedded node as the command line sees it: start, stop, status, delete. It checks the machine,
// starts the supervisor in the background and talks to it over a socket; the work is done in the packages below. The
// street (package up) needs of it only a kubeconfig and the sockets of the image store.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
	"github.com/perch-k8s/perch/internal/node/layout"
	"github.com/perch-k8s/perch/internal/node/sandbox"
	"github.com/perch-k8s/perch/internal/node/settings"
	"github.com/perch-k8s/perch/internal/node/supervisor"
)

// DefaultName is the name of the cluster that is used when none is named.
const DefaultName = "perch"

// StateDir is where nodes keep their folders, one each, when nothing else is said.
const StateDir = "/var/lib/perch"

// Cluster is one embedded node, running or not.
type Cluster struct {
	Name       string            // lower-case letters, digits and hyphens
	Dir        string            // its folder, absolute; see StateDir
	Kubeconfig string            // the user's kubeconfig, where the context is kept; "": none
	Executable string            // this program, to be started as the supervisor
	Settings   settings.Settings // what was chosen for its start; the zero value is what was kept
	Environ    []string
}

// Status is the node as it is now.
type Status struct {
	Running bool `json:"running"`
	supervisor.Status
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (c Cluster) layout() layout.Layout { return layout.Layout{Name: c.Name, Dir: c.Dir} }

func (c Cluster) validate() error {
	if !validName.MatchString(c.Name) {
		return fault.New(fault.Usage, "use lower-case letters, digits and hyphens, at most 32", "cluster name %q is not valid", c.Name)
	}
	if !filepath.IsAbs(c.Dir) {
		return fault.New(fault.Usage, "set PERCH_STATE_DIR to an absolute path", "the node's folder %q is not an absolute path", c.Dir)
	}
	return nil
}

// Context is the name of its context in kubeconfig files.
func (c Cluster) Context() string {
	if c.Name == DefaultName {
		return DefaultName
	}
	return DefaultName + "-" + c.Name
}

// Store gives the sockets of the image store: containerd's API, and BuildKit's, which starts when it is used.
func (c Cluster) Store() (containerd, builder string) {
	return c.layout().ContainerdSocket(), c.layout().BuilderSocket()
}

// Registries is the folder that the node takes mirrors of registries from: one for each registry, as containerd has it.
func (c Cluster) Registries() string { return c.layout().Registries() }

// AdminKubeconfig is a kubeconfig with the one context of this cluster.
func (c Cluster) AdminKubeconfig() ([]byte, error) {
	state, err := supervisor.ReadState(c.layout())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.Unreachable, "perch cluster start", "there is no cluster %q", c.Name)
	}
	if err != nil {
		return nil, err
	}
	server := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(state.APIPort))
	return pki.Files(c.layout().PKI()).AdminKubeconfig(server)
}

// Status asks the running node. A node that is not running is no error.
func (c Cluster) Status(ctx context.Context) (Status, error) {
	var s Status
	response, err := c.control(ctx, http.MethodGet, "/status")
	if notRunning(err) {
		return Status{Status: supervisor.Status{State: sandbox.Stopped}}, nil
	}
	if err != nil {
		return s, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&s.Status); err != nil {
		return s, fmt.Errorf("status of cluster %q: %w", c.Name, err)
	}
	s.Running = true
	return s, nil
}

// control sends one request to the supervisor.
func (c Cluster) control(ctx context.Context, method, path string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.layout().Control())
	}}}
	request, err := http.NewRequestWithContext(ctx, method, "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(request)
}

func notRunning(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}

// events calls f with each event of the node, from its start on, until f says stop or the node is gone.
func (c Cluster) events(ctx context.Context, method, path string, f func(sandbox.Event) (more bool)) error {
	response, err := c.control(ctx, method, path)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	lines := json.NewDecoder(response.Body)
	for {
		var e sandbox.Event
		if err := lines.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errGone
		}
		if !f(e) {
			return nil
		}
	}
}

// errGone is the end of the event stream: the supervisor ended.
var errGone = errors.New("the supervisor ended")

// lock takes the lock of the node; the supervisor inherits it. ok is false when somebody else holds it.
func (c Cluster) lock() (file *os.File, ok bool, err error) {
	path := c.layout().Lock()
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, false, err
	}
	file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, true, nil
	}
	_ = file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("lock %s: %w", path, err)
}

// lockWithin is lock, patient: another command may just be ending.
func (c Cluster) lockWithin(ctx context.Context, limit time.Duration) (*os.File, error) {
	deadline := time.Now().Add(limit)
	for {
		file, ok, err := c.lock()
		if err != nil || ok {
			return file, err
		}
		if time.Now().After(deadline) {
			return nil, fault.New(fault.Locked, "perch cluster status", "another perch command works on cluster %q", c.Name)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
