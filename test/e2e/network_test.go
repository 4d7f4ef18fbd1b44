package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outsideName is a name that a machine which builds Go programs can reach: that of its module proxy.
func outsideName(t *testing.T) string {
	t.Helper()
	answer, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output()
	if err != nil {
		t.Skipf("go env GOPROXY: %v", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(answer)), ",")
	proxy, err := url.Parse(first)
	if err != nil || proxy.Hostname() == "" {
		t.Skipf("GOPROXY %q names no host", first)
	}
	return proxy.Hostname()
}

// testNetwork runs a small Go program, built without a Dockerfile, that tells what its pod sees.
func testNetwork(t *testing.T, n *node) {
	p := n.copyOf(t, "echo", "test/e2e/testdata/echo")
	port, udp := freePort(t), freePort(t)
	env := []string{"PORT=" + port, "UDP_PORT=" + udp}
	base := "http://127.0.0.1:" + port
	p.up(t, env...)
	ask := func(ctx context.Context, path, key, value string) (string, error) {
		return fetch(ctx, base+path+"?"+url.Values{key: {value}}.Encode())
	}
	t.Run("a folder with a go.mod is built without a Dockerfile", func(t *testing.T) {
		images := imageNames(t, n.user)
		if !slices.ContainsFunc(images, func(i string) bool { return strings.HasPrefix(i, "echo-echo:") }) {
			t.Errorf("the images are %v", images)
		}
	})
	t.Run("TCP on 127.0.0.1 reaches all replicas", func(t *testing.T) {
		pods := n.ready(t, "echo", "echo", 2)
		eventually(t, 10*time.Second, "both have answered", answeredBy(pods, func(ctx context.Context) (string, error) { return fetch(ctx, base+"/name") }))
	})
	t.Run("UDP on 127.0.0.1 reaches all replicas", func(t *testing.T) {
		pods := n.ready(t, "echo", "echo", 2)
		eventually(t, 10*time.Second, "both have answered", answeredBy(pods, func(ctx context.Context) (string, error) {
			answer, err := askUDP(ctx, "127.0.0.1:"+udp, "hello")
			if err != nil {
				return "", err
			}
			pod, text, _ := strings.Cut(answer, " ")
			if text != "hello" {
				return "", fmt.Errorf("the answer is %q", answer)
			}
			return pod, nil
		}))
	})
	t.Run("the Services say where they answer", func(t *testing.T) { testServiceStatus(t, n, port, udp) })
	t.Run("services resolve each other by name", func(t *testing.T) {
		for _, name := range []string{"sister", "echo"} {
			if got, err := ask(t.Context(), "/lookup", "host", name); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if net.ParseIP(got) == nil {
				t.Errorf("%s is %q", name, got)
			}
		}
		if got, err := ask(t.Context(), "/dial", "address", "sister:8080"); err != nil || got != "connected" {
			t.Errorf("sister:8080: %s, %v", got, err)
		}
		if got, err := ask(t.Context(), "/lookup", "host", "nobody"); err == nil {
			t.Errorf("nobody is %q", got)
		}
	})
	t.Run("the outside resolves as it does on the host", func(t *testing.T) {
		outside, want := outsideName(t), outsideAddresses(t)
		eventually(t, 10*time.Second, outside+" resolves in a pod", func(ctx context.Context) error {
			got, err := ask(ctx, "/lookup", "host", outside)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(strings.Fields(got), func(a string) bool { return slices.Contains(want, a) }) {
				return fmt.Errorf("in a pod it is %q, on the host %q", got, want)
			}
			return nil
		})
	})
	t.Run("the outside is reached", func(t *testing.T) {
		outsideAddresses(t)
		address := net.JoinHostPort(outsideName(t), "443")
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Skipf("this machine itself has no direct way there: %v", err)
		}
		_ = conn.Close()
		if got, err := ask(t.Context(), "/dial", "address", address); err != nil || got != "connected" {
			t.Errorf("%s: %s, %v", address, got, err)
		}
	})
	t.Run("down closes the ports", func(t *testing.T) {
		n.want(t, 0, command{dir: p.dir, args: []string{"down"}, env: env})
		for _, network := range []string{"tcp", "udp"} {
			if err := bindable(network, map[string]string{"tcp": port, "udp": udp}[network]); err != nil {
				t.Errorf("the %s port is still taken: %v", network, err)
			}
		}
	})
}

// answeredBy asks until each of the pods has answered.
func answeredBy(pods []string, ask func(ctx context.Context) (string, error)) func(ctx context.Context) error {
	answered := map[string]bool{}
	return func(ctx context.Context) error {
		pod, err := ask(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(pods, pod) {
			return fmt.Errorf("%q answered, the pods are %v", pod, pods)
		}
		answered[pod] = true
		if len(answered) < len(pods) {
			return fmt.Errorf("only %v have answered", answered)
		}
		return nil
	}
}

// testServiceStatus wants the load balancers' status to name 127.0.0.1.
func testServiceStatus(t *testing.T, n *node, ports ...string) {
	eventually(t, 5*time.Second, "status is written", func(ctx context.Context) error {
		list, err := n.api.CoreV1().Services("echo").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var published []string
		for _, s := range list.Items {
			if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
				continue
			}
			for _, in := range s.Status.LoadBalancer.Ingress {
				for _, p := range in.Ports {
					if in.IP != "127.0.0.1" || p.Error != nil {
						return fmt.Errorf("service %s: %+v", s.Name, in)
					}
					published = append(published, fmt.Sprint(p.Port))
				}
			}
		}
		slices.Sort(published)
		want := slices.Sorted(slices.Values(ports))
		if diff := cmp.Diff(want, published); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// outsideAddresses are the addresses of the outside name, as this machine has them.
func outsideAddresses(t *testing.T) []string {
	t.Helper()
	addresses, err := net.DefaultResolver.LookupHost(t.Context(), outsideName(t))
	if err != nil {
		t.Skipf("this machine itself cannot resolve it: %v", err)
	}
	return addresses
}

func bindable(network, port string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	return l.Close()
}
