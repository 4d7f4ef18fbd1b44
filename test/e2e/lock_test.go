package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// steps is an application whose deploy has every kind of step: a volume, config, a migration, two releases in order.
const steps = `
name: %[1]s
services:
  db:
    image: busybox:1.36
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    volumes: ["data:/data"]
    stop_grace_period: 2s
  web:
    image: busybox:1.36
    command: ["sh", "-c", "mkdir -p /tmp/www; echo \"$$TEXT\" > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
    environment:
      TEXT: ${TEXT:-one}
    depends_on: [db]
    pre_start:
      - command: ["sh", "-c", "echo migration to ${TEXT:-one} begins; sleep 2; echo migration ends"]
    healthcheck: {test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 30s, start_interval: 1s}
    stop_grace_period: 2s
volumes:
  data:
`

// point is a place in a deploy where it is killed: as soon as the cluster shows that it has come so far.
type point struct {
	name string
	is   func(ctx context.Context, n *node, namespace string) (bool, error)
}

// found is a point at which a thing is there.
func found[T any](name string, get func(ctx context.Context, n *node, namespace string) (T, error)) point {
	return point{name, func(ctx context.Context, n *node, namespace string) (bool, error) {
		_, err := get(ctx, n, namespace)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}}
}

// revision is a point at which Helm has a revision of a release in that status.
func revision(release string, number int, status string) point {
	name := fmt.Sprintf("revision %d of %s is %s", number, release, status)
	return point{name, func(ctx context.Context, n *node, namespace string) (bool, error) {
		list, err := n.api.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{
			LabelSelector: fmt.Sprintf("owner=helm,name=%s-%s,version=%d,status=%s", namespace, release, number, status),
		})
		return err == nil && len(list.Items) > 0, err
	}}
}

// migrating is a point at which so many migrations have ended, and another one has a pod that runs if that is wanted.
func migrating(name string, ended int, runs bool) point {
	return point{name, func(ctx context.Context, n *node, namespace string) (bool, error) {
		list, err := n.api.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		complete, running := 0, false
		for _, j := range list.Items {
			pods, err := n.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + j.Name})
			if err != nil {
				return false, err
			}
			switch {
			case j.Status.Succeeded > 0 || hasEnded(pods.Items):
				complete++
			case len(pods.Items) > 0 && pods.Items[0].Status.Phase == corev1.PodRunning:
				running = true
			}
		}
		return complete >= ended && (running || !runs), nil
	}}
}

// hasEnded tells whether the container of a Job's pod has ended: the pod and the Job say so up to seconds later, when the
// deploy may be done.
func hasEnded(pods []corev1.Pod) bool {
	return len(pods) > 0 && slices.ContainsFunc(pods[0].Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Terminated != nil
	})
}

// rolling is a point at which a pod of the new version of web is there.
func rolling(text string) point {
	return point{"a pod of version " + text + " is there", func(ctx context.Context, n *node, namespace string) (bool, error) {
		sets, err := n.api.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=web"})
		if err != nil {
			return false, err
		}
		want := map[string]int{"one": 1, "two": 2}[text]
		with := 0
		for _, s := range sets.Items {
			if s.Status.Replicas > 0 {
				with++
			}
		}
		return with >= want, nil
	}}
}

// TestLock ends deploys and starts several at once: who comes next must find nothing to repair by hand.
func TestLock(t *testing.T) {
	u := newUser(t, "l")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	t.Run("Killed", func(t *testing.T) { testKilledDeploys(t, n) })
	t.Run("TwoAtOnce", func(t *testing.T) { testTwoAtOnce(t, n) })
}

func testKilledDeploys(t *testing.T, n *node) {
	first := []point{
		{"it has begun", func(context.Context, *node, string) (bool, error) { return true, nil }},
		found("the namespace is there", func(ctx context.Context, n *node, ns string) (any, error) {
			return n.api.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		}),
		found("the lock is held", func(ctx context.Context, n *node, ns string) (any, error) {
			return n.api.CoordinationV1().Leases(ns).Get(ctx, "perch-deploy", metav1.GetOptions{})
		}),
		found("the volume is there", func(ctx context.Context, n *node, ns string) (any, error) {
			return n.api.CoreV1().PersistentVolumeClaims(ns).Get(ctx, "data", metav1.GetOptions{})
		}),
		revision("db", 1, "pending-install"),
		migrating("a migration runs", 0, true),
		migrating("a migration has ended", 1, false),
		revision("web", 1, "pending-install"),
		rolling("one"),
	}
	next := []point{
		migrating("the next migration runs", 1, true),
		migrating("the next migration has ended", 2, false),
		revision("web", 2, "pending-upgrade"),
		rolling("two"),
		revision("web", 2, "deployed"),
	}
	for i, p := range first {
		t.Run(p.name, func(t *testing.T) { testKilledDeploy(t, n, fmt.Sprintf("first-%d", i), "", p) })
	}
	for i, p := range next {
		t.Run(p.name, func(t *testing.T) { testKilledDeploy(t, n, fmt.Sprintf("next-%d", i), "one", p) })
	}
}

func testKilledDeploy(t *testing.T, n *node, name, before string, at point) {
	p := n.project(t, name, map[string]string{"compose.yaml": fmt.Sprintf(steps, name)})
	text := "one"
	if before != "" {
		p.up(t, "TEXT="+before)
		text = "two"
	}
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}, env: []string{"TEXT=" + text}})
	killAt(t, n, up, name, at)
	r := p.up(t, "TEXT="+text)
	if r.took > 30*time.Second {
		t.Errorf("the next run took %s:\n%s", r.took, r.stderr)
	}
	n.ready(t, name, "web", 1)
	n.ready(t, name, "db", 1)
	if got := strings.TrimSpace(p.run(t, "exec", "-T", "web", "cat", "/tmp/www/index.html").stdout); got != text {
		t.Errorf("the version that runs is %q, want %q", got, text)
	}
	secrets, err := n.api.CoreV1().Secrets(name).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil {
		t.Fatal(err)
	}
	deployed := 0
	for _, s := range secrets.Items {
		if strings.HasPrefix(s.Labels["status"], "pending") {
			t.Errorf("%s is %s", s.Name, s.Labels["status"])
		}
		if s.Labels["status"] == "deployed" {
			deployed++
		}
	}
	if deployed != 2 {
		t.Errorf("%d releases are deployed", deployed)
	}
	wantText(t, p.up(t, "TEXT="+text).stderr, "nothing changed")
}

// killAt kills a deploy as soon as it has come to a point.
func killAt(t *testing.T, n *node, up *process, namespace string, at point) {
	t.Helper()
	const look = 2 * time.Millisecond // a step may be over soon
	for deadline := time.Now().Add(time.Minute); ; {
		is, err := at.is(t.Context(), n, namespace)
		if err != nil {
			t.Fatal(err)
		}
		if is {
			break
		}
		select {
		case <-up.ended:
			t.Fatalf("it ended before %s: %s", at.name, up.result)
		case <-time.After(look):
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never came so far that %s\n%s", at.name, up.stderr)
		}
	}
	if err := syscall.Kill(up.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Logf("it was faster: %v", err)
	}
	<-up.ended
	t.Logf("killed when %s:\n%s", at.name, up.stderr)
}

func testTwoAtOnce(t *testing.T, n *node) {
	const name = "two-at-once"
	p := n.project(t, name, map[string]string{"compose.yaml": strings.Replace(fmt.Sprintf(steps, name), "sleep 2;", "sleep 8;", 1)})
	p.commit(t, "the application")
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}})
	up.says(t, 30*time.Second, "migration to one begins")
	t.Run("the second is told who is at it, and ends", func(t *testing.T) {
		r := p.want(t, 16, command{dir: p.dir, args: []string{"up", "-d"}, env: []string{"TEXT=two"}})
		wantText(t, r.stderr, "another deploy of namespace "+name, fmt.Sprintf("process %d of root on ", up.cmd.Process.Pid),
			"which deploys commit "+p.git(t, "rev-parse", "--short=12", "HEAD"), "hint: ", "--lock-wait")
	})
	t.Run("down is refused too", func(t *testing.T) { p.want(t, 16, command{dir: p.dir, args: []string{"down"}}) })
	t.Run("one that waits comes after it", func(t *testing.T) {
		second := p.start(t, command{dir: p.dir, args: []string{"up", "-d", "--lock-wait", "2m"}, env: []string{"TEXT=two"}})
		second.says(t, 30*time.Second, fmt.Sprintf("deploy lock: waiting for process %d of root on ", up.cmd.Process.Pid))
		if r := up.endWithin(t, time.Minute); r.code != 0 {
			t.Errorf("the first was disturbed: %s", r)
		}
		if r := second.endWithin(t, time.Minute); r.code != 0 {
			t.Errorf("the second failed: %s", r)
		}
		if got := n.revisions(t, name); !strings.Contains(strings.Join(got, " "), name+"-web.v2") {
			t.Errorf("the revisions are %v", got)
		}
	})
	t.Run("a wait ends in time", func(t *testing.T) {
		third := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}, env: []string{"TEXT=three"}})
		third.says(t, 30*time.Second, "migration to three begins")
		r := p.want(t, 16, command{dir: p.dir, args: []string{"up", "-d", "--lock-wait", "1s"}, env: []string{"TEXT=four"}})
		wantText(t, r.stderr, "another deploy of namespace "+name)
		if r := third.endWithin(t, time.Minute); r.code != 0 {
			t.Errorf("the first was disturbed: %s", r)
		}
	})
	p.run(t, "down", "-v", "-y")
}
