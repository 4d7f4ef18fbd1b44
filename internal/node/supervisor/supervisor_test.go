package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/layout"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/sandbox"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("test-%d", os.Getpid())
	release, err := Claim(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(t.Context(), name); fault.KindOf(err) != fault.Locked {
		t.Errorf("second claim: %v", err)
	}
	if others, err := othersRun(name + "-other"); err != nil || !others {
		t.Errorf("others run: %v, %v", others, err)
	}
	if other, err := Claim(t.Context(), name+"-other"); err != nil {
		t.Errorf("another name: %v", err)
	} else {
		other()
	}
	release()
	again, err := Claim(t.Context(), name)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
}

func TestHostLock(t *testing.T) {
	t.Parallel()
	unlock, err := lockHost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan func())
	go func() {
		unlock, err := lockHost(t.Context())
		if err != nil {
			t.Error(err)
		}
		second <- unlock
	}()
	select {
	case <-second:
		t.Error("two have it at once")
	case <-time.After(10 * hostLockStep):
	}
	unlock()
	(<-second)()
}

func TestListenAPIKeepsItsPort(t *testing.T) {
	t.Parallel()
	first, err := listenAPI(0)
	if err != nil {
		t.Fatal(err)
	}
	port := first.Addr().(*net.TCPAddr).Port
	second, err := listenAPI(port)
	if err != nil {
		t.Fatal(err)
	}
	if other := second.Addr().(*net.TCPAddr).Port; other == port {
		t.Errorf("both have port %d", port)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	again, err := listenAPI(port)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Addr().(*net.TCPAddr).Port; got != port {
		t.Errorf("wanted %d, got %d", port, got)
	}
	_ = again.Close()
}

func TestChildEnvPassesOnlyTheWayOut(t *testing.T) {
	t.Parallel()
	env := childEnv([]string{"HTTPS_PROXY=http://proxy", "no_proxy=localhost", "SECRET=x", "PATH=/evil", "SSL_CERT_FILE=/ca"}, layout.Layout{Name: "perch", Dir: "/d"})
	want := []string{
		"HOME=/root", "HTTPS_PROXY=http://proxy", "PATH=/d/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SSL_CERT_FILE=/ca", "TMPDIR=/d/tmp", "no_proxy=localhost",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	event := func(name string, s sandbox.State) sandbox.Event {
		return sandbox.Event{Component: name, State: s, Time: time.Now()}
	}
	t.Run("the state of the whole is the node's", func(t *testing.T) {
		t.Parallel()
		r := newRecorder()
		if s := r.status(); s.State != sandbox.Starting {
			t.Errorf("at first %s", s.State)
		}
		r.record(event(Containerd, sandbox.Ready))
		r.record(event(Node, sandbox.Ready))
		s := r.status()
		if s.State != sandbox.Ready || len(s.Components) != 1 || s.Components[0].Name != Containerd {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("who comes late gets the past and the end", func(t *testing.T) {
		t.Parallel()
		r := newRecorder()
		r.record(event(Containerd, sandbox.Running))
		past, events := r.listen()
		if len(past) != 1 {
			t.Errorf("past %v", past)
		}
		r.record(event(Containerd, sandbox.Ready))
		if e := <-events; e.State != sandbox.Ready {
			t.Errorf("got %v", e)
		}
		r.close()
		if _, open := <-events; open {
			t.Error("the channel is open after the end")
		}
		if _, events := r.listen(); events != nil {
			if _, open := <-events; open {
				t.Error("a listener after the end waits for ever")
			}
		}
	})
	t.Run("a failed part is the failure", func(t *testing.T) {
		t.Parallel()
		r := newRecorder()
		e := event(Kubernetes, sandbox.Failed)
		e.Error = "no space left"
		r.record(e)
		if err := r.failure(); err == nil || err.Error() != "kubernetes: no space left" {
			t.Errorf("got %v", err)
		}
	})
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Name: "perch", Dir: t.TempDir()}
	plan, err := network.PlanFor("perch", network.Wish{}, network.Host{MTU: 1400, IPv6: network.IPv6{Kernel: true, On: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := State{Network: plan, APIPort: 6443}
	if err := writeState(l, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(l)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}
