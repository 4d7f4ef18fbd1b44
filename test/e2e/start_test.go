package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestStartInterrupted ends `perch cluster start` by Ctrl-C at several moments: nothing must be left, and the next start
// must work.
func TestStartInterrupted(t *testing.T) {
	u := newUser(t, "c")
	before := u.mustLook(t)
	for _, moment := range []struct {
		name  string
		there func() error
	}{
		{"the control socket is there", func() error { return exists(filepath.Join(u.folder(), "run", "node.sock")) }},
		{"containerd answers", func() error { return exists(filepath.Join(u.folder(), "run", "containerd.sock")) }},
		{"Kubernetes starts", func() error { return u.runs("node kubernetes") }},
	} {
		t.Run("when "+moment.name, func(t *testing.T) {
			start := u.start(t, command{args: []string{"cluster", "start"}})
			eventually(t, 30*time.Second, moment.name, func(context.Context) error { return moment.there() })
			u.interrupted(t, start, before)
		})
	}
	t.Run("up, when it has to start the cluster", func(t *testing.T) {
		p := u.copyOf(t, "echo", "test/e2e/testdata/echo") // needs no base image
		env := []string{"PORT=" + freePort(t), "UDP_PORT=" + freePort(t)}
		up := u.start(t, command{dir: p.dir, args: []string{"up", "-d"}, env: env})
		eventually(t, 30*time.Second, "Kubernetes starts", func(context.Context) error { return u.runs("node kubernetes") })
		u.interrupted(t, up, before)
	})
	t.Run("two starts at once work", func(t *testing.T) {
		one := u.start(t, command{args: []string{"cluster", "start"}})
		two := u.start(t, command{args: []string{"cluster", "start"}})
		for _, start := range []*process{one, two} {
			if r := start.endWithin(t, limit); r.code != 0 {
				t.Error(r)
			}
		}
		u.supervisor(t) // there is one
		if err := u.connect(t).nodeReady(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("delete leaves nothing", func(t *testing.T) {
		seen := u.inside()
		u.perch(t, "", "cluster", "delete", "--yes")
		u.deleted(t, before, seen)
	})
}

// interrupted ends a program that starts the cluster by Ctrl-C, and wants nothing to be left of it.
func (u *user) interrupted(t *testing.T, p *process, before host) {
	t.Helper()
	seen := u.inside()
	p.interrupt(t)
	r := p.endWithin(t, 60*time.Second)
	u.leavesNothing(t, before, seen)
	if r.code != 130 {
		t.Errorf("it ended with %s", r)
	}
	wantText(t, r.stderr, "interrupted")
	u.want(t, 15, command{args: []string{"cluster", "status"}})
}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

// TestSupervisorKilled kills the process on the host that everything hangs on, and the shell that would start it again (what
// that does is in TestSturdy). Its sandbox must end with it; the locks and files that it left must not be in the way of the
// next start, nor of delete.
func TestSupervisorKilled(t *testing.T) {
	u := newUser(t, "k")
	before := u.mustLook(t)
	u.perch(t, "", "cluster", "start")
	u.perch(t, "", "kubectl", "create", "configmap", "kept", "--from-literal=a=b")
	dead := func(t *testing.T) {
		t.Helper()
		inside := u.inside()
		for _, p := range processes() {
			if p.watchesOver(u) {
				p.kill(t)
			}
		}
		for _, p := range inside {
			if p.supervisesOf(u) {
				p.kill(t)
			}
		}
		eventually(t, 10*time.Second, "the sandbox has ended too", func(context.Context) error {
			for _, p := range inside {
				if p.alive() {
					return fmt.Errorf("%s is still there", p)
				}
			}
			return nil
		})
	}
	t.Run("status says so", func(t *testing.T) {
		dead(t)
		u.want(t, 15, command{args: []string{"cluster", "status"}})
	})
	t.Run("the next start has everything", func(t *testing.T) {
		staleLock(t, u.kubeconfig+".lock")
		u.perch(t, "", "cluster", "start")
		if _, err := u.connect(t).api.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("stop cleans up after it", func(t *testing.T) {
		dead(t)
		u.perch(t, "", "cluster", "stop")
		u.leavesNothing(t, before, nil)
	})
	t.Run("delete leaves nothing", func(t *testing.T) {
		u.perch(t, "", "cluster", "start")
		dead(t)
		u.perch(t, "", "cluster", "delete", "--yes")
		u.deleted(t, before, nil)
	})
}

// staleLock is the lock that kubectl, or perch, leaves beside a kubeconfig when it is killed.
func staleLock(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
}

// TestTwoClusters runs one cluster beside another: neither may notice, whichever comes and goes first.
func TestTwoClusters(t *testing.T) {
	one, two := newUser(t, "o"), newUser(t, "t")
	before := one.mustLook(t)
	// At once, so that they may not choose the same subnet or ports.
	starts := []*process{one.start(t, command{args: []string{"cluster", "start"}}), two.start(t, command{args: []string{"cluster", "start"}})}
	for _, start := range starts {
		if r := start.endWithin(t, limit); r.code != 0 {
			t.Fatal(r)
		}
	}
	var pages []string
	for _, u := range []*user{one, two} {
		u.load(t, "busybox:1.36")
		u.reachesOut(t)
		pages = append(pages, u.publishes(t))
	}
	one.perch(t, "", "cluster", "delete", "--yes")
	t.Run("the ports of the one that is deleted are closed", func(t *testing.T) {
		if body, err := fetch(t.Context(), pages[0]); err == nil {
			t.Errorf("%s still answers: %s", pages[0], body)
		}
	})
	t.Run("the one that stays is whole", func(t *testing.T) {
		n := two.connect(t)
		if err := n.nodeReady(t.Context()); err != nil {
			t.Error(err)
		}
		if body := mustFetch(t, pages[1]); body != two.cluster+"\n" {
			t.Errorf("%s says %q", pages[1], body)
		}
		p := n.project(t, "one", map[string]string{"compose.yaml": "services:\n  web:\n    image: busybox:1.36\n    command: httpd -f\n    expose: [\"80\"]\n    stop_grace_period: 1s\n"})
		p.up(t)
		n.ready(t, "one", "web", 1)
		two.reachesOut(t)
	})
	two.perch(t, "", "cluster", "delete", "--yes")
	one.deleted(t, before, nil)
	two.deleted(t, before, nil)
}

// publishes deploys an app that says the cluster's name on a port of this machine, and returns its URL.
func (u *user) publishes(t *testing.T) string {
	t.Helper()
	port := freePort(t)
	p := u.project(t, "page", map[string]string{"compose.yaml": fmt.Sprintf(`services:
  page:
    image: busybox:1.36
    command: sh -c "mkdir /www && echo %s > /www/index.html && exec httpd -f -h /www"
    ports: ["%s:80"]
    stop_grace_period: 1s
`, u.cluster, port)})
	p.up(t)
	url := "http://127.0.0.1:" + port
	if body := mustFetch(t, url); body != u.cluster+"\n" {
		t.Errorf("%s says %q", url, body)
	}
	return url
}

// reachesOut wants a pod to connect to the outside, where this machine itself can.
func (u *user) reachesOut(t *testing.T) {
	t.Helper()
	addresses, err := net.DefaultResolver.LookupHost(t.Context(), outsideName(t))
	if err != nil {
		t.Logf("not tried: %v", err)
		return
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(addresses[0], "443"))
	if err != nil {
		t.Logf("not tried: %v", err)
		return
	}
	_ = conn.Close()
	u.perch(t, "", "kubectl", "run", "out", "--image=busybox:1.36", "--restart=Never", "--attach", "--rm", "--quiet", "--pod-running-timeout=60s",
		"--command", "--", "nc", "-w", "5", addresses[0], "443", "-e", "true")
}
