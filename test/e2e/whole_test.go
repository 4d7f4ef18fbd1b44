package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWhole looks at what everybody expects of a Kubernetes, by kubectl alone: nothing of Compose is in it.
func TestWhole(t *testing.T) {
	t.Parallel()
	n := whole{newUser(t, "w").started(t)}
	n.load(t, "busybox:1.36", "golang:1.26")
	port := freePort(t)
	n.apply(t, "web.yaml", "PUBLISHED", port)
	for _, name := range []string{"deployment/web", "daemonset/everywhere", "statefulset/ordered"} {
		n.kubectl(t, 0, "rollout", "status", name, "--timeout=90s")
	}
	n.kubectl(t, 0, "wait", "pod/client", "--for=condition=Ready", "--timeout=60s")
	t.Run("Services", func(t *testing.T) { testServices(t, n, port) })
	t.Run("Sessions", func(t *testing.T) { testSessions(t, n) })
	t.Run("Volumes", func(t *testing.T) { testVolumes(t, n) })
	t.Run("Kinds", func(t *testing.T) { testKinds(t, n) })
	t.Run("Rights", func(t *testing.T) { testRights(t, n) })
	t.Run("Aggregated", func(t *testing.T) { testAggregated(t, n) })
	t.Run("Metrics", func(t *testing.T) { testMetrics(t, n) })
}

// whole is a node that is spoken to by kubectl, in the namespace of testdata/whole.
type whole struct{ *node }

// started is the node of a user who has just started it.
func (u *user) started(t *testing.T) *node {
	t.Helper()
	u.perch(t, "", "cluster", "start")
	return u.connect(t)
}

func (n whole) kubectl(t *testing.T, code int, args ...string) outcome {
	t.Helper()
	return n.want(t, code, command{args: append([]string{"kubectl", "-n", "whole"}, args...)})
}

// apply applies a file of testdata/whole, with words replaced: old, new, ….
func (n whole) apply(t *testing.T, file string, replace ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "whole", file))
	if err != nil {
		t.Fatal(err)
	}
	n.want(t, 0, command{
		args:  []string{"kubectl", "apply", "-f", "-"},
		stdin: strings.NewReader(strings.NewReplacer(replace...).Replace(string(text))),
	})
}

// inside is what a command in the client's pod prints.
func (n whole) inside(ctx context.Context, args ...string) (string, error) {
	got := n.exec(ctx, command{args: append([]string{"kubectl", "-n", "whole", "exec", "client", "--"}, args...)})
	if got.code != 0 {
		return "", fmt.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	return strings.TrimSpace(got.stdout), nil
}

// fetch is the page at host and port, asked for in the client's pod.
func (n whole) fetch(ctx context.Context, host, port string) (string, error) {
	const script = `exec 3<>/dev/tcp/$0/$1 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && timeout 3 cat <&3`
	answer, err := n.inside(ctx, "timeout", "5", "bash", "-c", script, host, port)
	if err != nil {
		return "", err
	}
	_, page, _ := strings.Cut(answer, "\r\n\r\n")
	return page, nil
}

func testServices(t *testing.T, n whole, port string) {
	pods, err := n.api.CoreV1().Pods("whole").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	var web []string
	for _, p := range pods.Items {
		web = append(web, p.Name)
	}
	both := func(t *testing.T, host, port string) {
		t.Helper()
		eventually(t, 20*time.Second, "both pods have answered", answeredBy(web, func(ctx context.Context) (string, error) { return n.fetch(ctx, host, port) }))
	}
	t.Run("ClusterIP", func(t *testing.T) { both(t, "cluster-ip", "80") })
	t.Run("headless", func(t *testing.T) {
		got, err := n.inside(t.Context(), "getent", "ahostsv4", "headless")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if !strings.Contains(got, p.Status.PodIP+" ") {
				t.Errorf("%s of %s is not among %s", p.Status.PodIP, p.Name, got)
			}
		}
	})
	t.Run("ExternalName", func(t *testing.T) { both(t, "alias", "80") })
	t.Run("session affinity", func(t *testing.T) {
		first, err := n.fetch(t.Context(), "sticky", "80")
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			if got, err := n.fetch(t.Context(), "sticky", "80"); err != nil || got != first {
				t.Fatalf("%s answered, then %s (%v)", first, got, err)
			}
		}
	})
	t.Run("NodePort", func(t *testing.T) {
		service, err := n.api.CoreV1().Services("whole").Get(t.Context(), "node-port", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		both(t, n.nodeIP(t), strconv.Itoa(int(service.Spec.Ports[0].NodePort)))
	})
	t.Run("hostPort", func(t *testing.T) {
		if got, err := n.fetch(t.Context(), n.nodeIP(t), "18081"); err != nil || got != "from the node" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("LoadBalancer", func(t *testing.T) {
		eventually(t, 20*time.Second, "both pods have answered", answeredBy(web, func(ctx context.Context) (string, error) {
			got, err := fetch(ctx, "http://127.0.0.1:"+port)
			return strings.TrimSpace(got), err
		}))
	})
	t.Run("names of a StatefulSet's pods", func(t *testing.T) {
		for _, pod := range []string{"ordered-0", "ordered-1"} {
			want := n.kubectl(t, 0, "get", "pod", pod, "-o", "jsonpath={.status.podIP}").stdout
			if got, err := n.inside(t.Context(), "getent", "hosts", pod+".ordered"); err != nil || !strings.HasPrefix(got, want+" ") {
				t.Errorf("%s is %q, not %s: %v", pod, got, want, err)
			}
		}
	})
}

// testSessions does what goes through the kubelet: exec is in every other test.
func testSessions(t *testing.T, n whole) {
	t.Run("cp", func(t *testing.T) {
		from := filepath.Join(t.TempDir(), "from")
		if err := os.WriteFile(from, []byte("carried\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		n.kubectl(t, 0, "cp", from, "client:/tmp/file")
		to := filepath.Join(t.TempDir(), "to")
		n.kubectl(t, 0, "cp", "client:/tmp/file", to)
		if got, err := os.ReadFile(to); err != nil || string(got) != "carried\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("debug", func(t *testing.T) {
		got := n.kubectl(t, 0, "debug", "client", "--image=busybox:1.36", "--target=shell", "--attach", "--quiet", "--profile=baseline", "--",
			"sh", "-c", "sleep 1; cat /proc/1/cmdline | tr '\\0' ' '")
		if !strings.Contains(got.stdout, "sleep 3600") {
			t.Errorf("the ephemeral container sees %q as the first process", got.stdout)
		}
	})
	t.Run("run and attach", func(t *testing.T) {
		got := n.want(t, 0, command{
			args:  []string{"kubectl", "-n", "whole", "run", "reader", "--image=busybox:1.36", "--restart=Never", "--rm", "-i", "--quiet", "--", "sh", "-c", "read line; echo got $line"},
			stdin: strings.NewReader("words\n"),
		})
		if !strings.Contains(got.stdout, "got words") {
			t.Errorf("it printed %q, %q", got.stdout, got.stderr)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		port := freePort(t)
		p := n.start(t, command{args: []string{"kubectl", "-n", "whole", "port-forward", "service/cluster-ip", port + ":80"}})
		eventually(t, 20*time.Second, "it answers", func(ctx context.Context) error {
			_, err := fetch(ctx, "http://"+net.JoinHostPort("127.0.0.1", port))
			return err
		})
		p.interrupt(t)
	})
	t.Run("jobs by the clock", func(t *testing.T) {
		n.kubectl(t, 0, "create", "cronjob", "clock", "--image=busybox:1.36", "--schedule=* * * * *", "--", "true")
		n.kubectl(t, 0, "create", "job", "--from=cronjob/clock", "now")
		n.kubectl(t, 0, "wait", "job/now", "--for=condition=Complete", "--timeout=60s")
		n.kubectl(t, 0, "delete", "cronjob", "clock")
	})
}

func testVolumes(t *testing.T, n whole) {
	n.apply(t, "volumes.yaml")
	n.kubectl(t, 0, "wait", "pvc/kept", "pvc/gone", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
	volume := func(claim string) string {
		return n.kubectl(t, 0, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}").stdout
	}
	kept, gone := volume("kept"), volume("gone")
	t.Run("a claim cannot grow, and that is said", func(t *testing.T) {
		got := n.kubectl(t, 1, "patch", "pvc", "gone", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"32Mi"}}}}`)
		if !strings.Contains(got.stderr, "only dynamically provisioned pvc can be resized") {
			t.Errorf("it says %q", got.stderr)
		}
	})
	n.kubectl(t, 0, "delete", "pvc", "kept", "gone")
	eventually(t, 20*time.Second, "the one's data is gone", func(context.Context) error {
		if _, err := os.Stat(filepath.Join(n.folder(), "volumes", gone)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there", gone)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(n.folder(), "volumes", kept)); err != nil {
		t.Errorf("the other's should have stayed: %v", err)
	}
}

func testKinds(t *testing.T, n whole) {
	n.apply(t, "kinds.yaml")
	n.want(t, 0, command{args: []string{"kubectl", "wait", "crd/birds.example.com", "--for=condition=Established", "--timeout=30s"}})
	bird := func(name, song string) command {
		text := fmt.Sprintf("apiVersion: example.com/v1\nkind: Bird\nmetadata: {name: %s, namespace: whole}\nspec: {song: %q}\n", name, song)
		return command{args: []string{"kubectl", "create", "-f", "-"}, stdin: strings.NewReader(text)}
	}
	n.want(t, 0, bird("wren", "tirili"))
	if got := n.want(t, 1, bird("mute", "")); !strings.Contains(got.stderr, "spec.song") {
		t.Errorf("against the schema: %s", got.stderr)
	}
	// A policy is in force a moment after it was made.
	eventually(t, 20*time.Second, "the policy refuses a crow", func(ctx context.Context) error {
		got := n.exec(ctx, bird(fmt.Sprintf("crow-%d", time.Now().UnixNano()), "caw"))
		if got.code == 0 || !strings.Contains(got.stderr, "no crows here") {
			return fmt.Errorf("exit code %d: %s", got.code, got.stderr)
		}
		return nil
	})
}

func testRights(t *testing.T, n whole) {
	n.kubectl(t, 0, "create", "serviceaccount", "reader")
	n.kubectl(t, 0, "create", "role", "reader", "--verb=get,list", "--resource=pods")
	n.kubectl(t, 0, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount=whole:reader")
	as := func(code int, args ...string) {
		n.kubectl(t, code, append([]string{"--as=system:serviceaccount:whole:reader"}, args...)...)
	}
	as(0, "get", "pods")
	as(1, "get", "secrets")
	as(1, "delete", "pod", "client")
}

// testMetrics burns CPU until the autoscaler sees it.
func testMetrics(t *testing.T, n whole) {
	got := n.kubectl(t, 0, "top", "pods")
	if !strings.Contains(got.stdout, "client") {
		t.Errorf("top prints %s", got.stdout)
	}
	if got := n.kubectl(t, 0, "top", "nodes"); !strings.Contains(got.stdout, n.cluster) {
		t.Errorf("top prints %s", got.stdout)
	}
	n.apply(t, "busy.yaml")
	n.kubectl(t, 0, "wait", "hpa/busy", "--for=jsonpath={.status.desiredReplicas}=2", "--timeout=150s")
	n.kubectl(t, 0, "wait", "deployment/busy", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
	if got := n.kubectl(t, 1, "top", "pods", "--as=nobody"); !strings.Contains(got.stderr, "forbidden") {
		t.Errorf("nobody in particular may read metrics: %s", got)
	}
}
