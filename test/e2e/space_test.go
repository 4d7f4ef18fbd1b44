package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/perch-k8s/perch/internal/node/network"
)

// space is a network of its own, that stands for a machine: what a test does to its routes and firewall touches no other.
// Its only card leads to another one, the outside.
type space struct {
	network.Namespace
	outside network.Namespace

	pid, outsidePID int
}

// The two ends of the wire between the space and the outside, and a place that only a VPN knows the way to.
const (
	insideIP  = "203.0.113.2"
	outsideIP = "203.0.113.1"
	behindVPN = "10.20.30.40"
)

// newSpace makes one, with a web server outside that says "outside". Call it before newUser, or it ends too early.
func newSpace(t *testing.T) *space {
	t.Helper()
	requirements(t)
	for _, name := range []string{"ip", "nsenter", "nft"} { // of iproute2, util-linux, nftables
		if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s := &space{}
	s.Namespace, s.pid = holdNamespace(t)
	s.outside, s.outsidePID = holdNamespace(t)
	s.shell(t, fmt.Sprintf(`
		ip link add card type veth peer name wire netns %[1]d
		ip link set lo up; ip link set card up; ip address add %[2]s/24 dev card; ip route add default via %[3]s
		nsenter -t %[1]d -n sh -ec 'ip link set lo up; ip link set wire up; ip address add %[3]s/24 dev wire; ip address add %[4]s/32 dev lo'
	`, s.outsidePID, insideIP, outsideIP, behindVPN))
	l, err := s.outside.Listen(t.Context(), ":8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "outside") })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// holdNamespace is a new network namespace, and a process that keeps it until the test ends.
func holdNamespace(t *testing.T) (network.Namespace, int) {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	n, err := network.OfProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n, cmd.Process.Pid
}

// start starts a program in the space; in none, where it is called.
func (s *space) start(cmd *exec.Cmd) error {
	if s == nil {
		return cmd.Start()
	}
	return s.Do(cmd.Start)
}

// shell runs a script in the space and returns what it prints.
func (s *space) shell(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s\n%v: %s", script, err, out.String())
	}
	return out.String()
}

// fetch asks a URL from inside the space.
func (s *space) fetch(ctx context.Context, url string) (string, error) {
	return fetchFrom(ctx, s.Namespace, url)
}

// fetchFrom asks a URL from inside a network namespace.
func fetchFrom(ctx context.Context, from network.Namespace, url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return from.Dial(ctx, network, address)
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// links are the names of the interfaces of the space.
func (s *space) links(t *testing.T) []string {
	t.Helper()
	var names []string
	err := s.Do(func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		links, err := h.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
