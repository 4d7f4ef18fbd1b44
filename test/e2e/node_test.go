package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// kubernetesVersion is what the node must call itself: the release it is built from.
const kubernetesVersion = "v1.37.2"

// TestNode is what one cluster goes through from its first start to its removal. Its scenarios share the cluster, and
// each can be run alone.
func TestNode(t *testing.T) {
	u := newUser(t, "n")
	before := u.mustLook(t)
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	spy := startSpy(t, password)
	n.load(t, "postgres:15", "golang:1.26", "busybox:1.36")
	a := newApp(t, n)
	t.Run("Cluster", func(t *testing.T) { testCluster(t, n) })
	t.Run("App", func(t *testing.T) { testApp(t, a) })
	t.Run("Tools", func(t *testing.T) { testTools(t, a) })
	t.Run("Network", func(t *testing.T) { testNetwork(t, n) })
	t.Run("Storage", func(t *testing.T) { testStorage(t, n) })
	t.Run("Builds", func(t *testing.T) { testBuilds(t, n) })
	t.Run("Ended", func(t *testing.T) { testEnded(t, n) })
	t.Run("Refused", func(t *testing.T) { testRefused(t, n) })
	t.Run("Killed", func(t *testing.T) { testKilled(t, a) })
	t.Run("StopStart", func(t *testing.T) { testStopStart(t, a) })
	t.Run("Secrets", func(t *testing.T) { testSecrets(t, a, spy) })
	t.Run("Delete", func(t *testing.T) { testDelete(t, u, before) })
}

// testCluster looks at the cluster as it is after its start.
func testCluster(t *testing.T, n *node) {
	t.Run("node is ready and of the true version", func(t *testing.T) {
		list, err := n.api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 {
			t.Fatalf("there are %d nodes", len(list.Items))
		}
		node := list.Items[0]
		if got := node.Status.NodeInfo.KubeletVersion; got != kubernetesVersion {
			t.Errorf("the kubelet's version is %s", got)
		}
		if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			t.Errorf("the node is not ready: %v", node.Status.Conditions)
		}
		server, err := n.api.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if server.GitVersion != kubernetesVersion {
			t.Errorf("the API server's version is %s", server.GitVersion)
		}
	})
	t.Run("pods can be made at once", func(t *testing.T) {
		if _, err := n.api.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		classes, err := n.api.StorageV1().StorageClasses().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defaults := 0
		for _, c := range classes.Items {
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				defaults++
			}
		}
		if defaults != 1 {
			t.Errorf("there are %d default storage classes", defaults)
		}
	})
	t.Run("kubeconfig has the context beside what was there and is private", func(t *testing.T) {
		info, err := os.Stat(n.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %s", info.Mode())
		}
		c, err := clientcmd.LoadFromFile(n.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if c.Contexts[n.context()] == nil || c.Contexts[elsewhere] == nil {
			t.Errorf("it has not both contexts: %v", c.Contexts)
		}
		if c.CurrentContext != elsewhere {
			t.Errorf("the current context was changed to %s", c.CurrentContext)
		}
		if server := c.Clusters[n.context()].Server; !strings.HasPrefix(server, "https://127.0.0.1:") {
			t.Errorf("the server is %s", server)
		}
	})
	t.Run("only this machine is listened for", func(t *testing.T) { testListeners(t, n) })
	t.Run("start again changes nothing", func(t *testing.T) {
		supervisor := n.supervisor(t)
		n.perch(t, "", "cluster", "start")
		if now := n.supervisor(t); now != supervisor {
			t.Errorf("the supervisor was %s, is %s", supervisor, now)
		}
	})
	t.Run("status", func(t *testing.T) {
		var status struct {
			Running    bool
			Components []struct {
				Name, State string
				Restarts    int
			}
		}
		r := n.perch(t, "", "cluster", "status", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		var names []string
		for _, c := range status.Components {
			names = append(names, c.Name)
			if c.Restarts > 0 {
				t.Errorf("%s was restarted: %s", c.Name, r.stdout)
			}
		}
		if !status.Running || !slices.Contains(names, "kubernetes") || !slices.Contains(names, "containerd") {
			t.Errorf("running: %t, components %v", status.Running, names)
		}
	})
}

// supervisor is the one process that supervises the user's cluster.
func (u *user) supervisor(t *testing.T) string {
	t.Helper()
	var found []string
	for _, p := range processes() {
		if p.supervisesOf(u) {
			found = append(found, p.pid)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d supervisors of %s: %v", len(found), u.cluster, found)
	}
	return found[0]
}

// testListeners wants every listening socket of the supervisor, which has all of the node's sockets on the host, to be on
// 127.0.0.1.
func testListeners(t *testing.T, n *node) {
	pid := n.supervisor(t)
	links, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, l := range links {
		if target, err := os.Readlink("/proc/" + pid + "/fd/" + l.Name()); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target[len("socket:"):], "[]")] = true
		}
	}
	checked := 0
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			listening := len(f) > 9 && (f[3] == "0A" || strings.HasPrefix(table, "udp") && strings.HasSuffix(f[2], ":0000"))
			if !listening || !own[f[9]] {
				continue
			}
			checked++
			// 127.0.0.1 and ::1, in the machine's byte order
			if !strings.HasPrefix(f[1], "0100007F:") && !strings.HasPrefix(f[1], strings.Repeat("0", 24)+"01000000:") {
				t.Errorf("%s listens on %s", table, f[1])
			}
		}
	}
	if checked == 0 {
		t.Error("no listening socket was found: not even the API server's")
	}
}

// testStopStart stops the node and starts it: everything must be as it was.
func testStopStart(t *testing.T, a *app) {
	a.ensure(t)
	n := a.node
	rows := readPage(mustFetch(t, a.url())).greetings
	shape, images := n.shape(t, a.namespace), imageNames(t, n.user)
	inside := n.inside()
	n.perch(t, "", "cluster", "stop")
	t.Run("stop ends all processes", func(t *testing.T) {
		for _, p := range inside {
			if p.alive() {
				t.Errorf("%s is still there", p)
			}
		}
		if body, err := fetch(t.Context(), a.url()); err == nil {
			t.Errorf("the app still answers: %s", body)
		}
	})
	t.Run("a stopped cluster is reported", func(t *testing.T) {
		r := n.want(t, 15, command{args: []string{"cluster", "status"}})
		wantText(t, r.stderr, "not running", "hint: ", "perch cluster start")
	})
	n.perch(t, "", "cluster", "start")
	t.Run("objects are kept", func(t *testing.T) {
		if diff := cmp.Diff(shape, n.shape(t, a.namespace)); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
	})
	t.Run("images are kept", func(t *testing.T) {
		if diff := cmp.Diff(images, imageNames(t, n.user)); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
	})
	t.Run("the app answers again, with its data", func(t *testing.T) {
		eventually(t, 60*time.Second, "the app answers", func(ctx context.Context) error {
			body, err := fetch(ctx, a.url())
			if err != nil {
				return err
			}
			if diff := cmp.Diff(rows, readPage(body).greetings); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	})
	t.Run("up finds nothing to do", func(t *testing.T) {
		a.settled(t)
		r := a.up(t, a.env()...)
		wantText(t, r.stderr, "nothing changed")
	})
}

// testDelete deletes the cluster with all that the scenarios before have put into it.
func testDelete(t *testing.T, u *user, before host) {
	seen := u.inside()
	if len(seen) < 4 {
		t.Errorf("only %d processes were found in the sandbox, so this proves little", len(seen))
	}
	u.want(t, 2, command{args: []string{"cluster", "delete"}}) // without --yes and a terminal it must not
	if len(u.inside()) == 0 {
		t.Fatal("delete without a yes ended the node")
	}
	u.perch(t, "", "cluster", "delete", "--yes")
	u.deleted(t, before, seen)
	t.Run("delete again is no error", func(t *testing.T) { u.perch(t, "", "cluster", "delete", "--yes") })
}

// deleted wants nothing of the cluster to be left.
func (u *user) deleted(t *testing.T, before host, seen []hostProcess) {
	t.Helper()
	u.leavesNothing(t, before, seen)
	u.leavesNoFiles(t)
	c, err := clientcmd.LoadFromFile(u.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if c.Contexts[u.context()] != nil || len(c.Clusters) != 1 || len(c.AuthInfos) != 1 {
		t.Errorf("the kubeconfig still has contexts %v, %d clusters, %d users", c.Contexts, len(c.Clusters), len(c.AuthInfos))
	}
	if c.Contexts[elsewhere] == nil || c.CurrentContext != elsewhere {
		t.Errorf("the user's own context was touched: current is %q", c.CurrentContext)
	}
}

// imageNames is what `perch image list` has, sorted.
func imageNames(t *testing.T, u *user) []string {
	t.Helper()
	r := u.perch(t, "", "image", "list", "-o", "json")
	var images []struct{ Name, Digest string }
	if err := json.Unmarshal([]byte(r.stdout), &images); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	names := make([]string, 0, len(images))
	for _, i := range images {
		names = append(names, i.Name+" "+i.Digest)
	}
	slices.Sort(names)
	return names
}

// wantText wants each of the parts in the text.
func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	if err := hasText(text, parts...); err != nil {
		t.Error(err)
	}
}

func hasText(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%q is not in:\n%s", part, text)
		}
	}
	return nil
}
