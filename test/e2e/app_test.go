package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// password is the database's. It is nothing else's name, so that finding it anywhere means that it leaked.
const password = "Vq7-e2e-uGx2Lm9"

// app is the reference application in a repository of its own: a copy of examples/kube-native on a free port.
type app struct {
	project
	node      *node
	namespace string
	port      string
	commit    string // what its first image is made of
}

func newApp(t *testing.T, n *node) *app {
	t.Helper()
	a := &app{project: n.copyOf(t, "kube-native", "examples/kube-native"), node: n, namespace: "kube-native", port: freePort(t)}
	a.replace(t, "compose.yaml", `"4000:4000"`, fmt.Sprintf("%q", a.port+":4000"))
	a.commit = a.project.commit(t, "the application")
	return a
}

func (a *app) url() string { return "http://127.0.0.1:" + a.port + "/" }

// env is what the user has set for the application.
func (a *app) env() []string { return []string{"POSTGRES_PASSWORD=" + password} }

// perchApp runs perch in the application's folder.
func (a *app) perchApp(t *testing.T, args ...string) outcome {
	t.Helper()
	return a.want(t, 0, command{dir: a.dir, args: args, env: a.env()})
}

// ensure brings the application up, with its rows, for a scenario that needs it.
func (a *app) ensure(t *testing.T) {
	t.Helper()
	a.perchApp(t, "up", "-d")
	a.perchApp(t, "run", "seed")
}

// settled waits until the pods are there again after the node was started: until then a plan may see them as broken.
func (a *app) settled(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, "three replicas are ready", func(ctx context.Context) error {
		d, err := a.node.api.AppsV1().Deployments(a.namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return allReady(d)
	})
}

func allReady(d *appsv1.Deployment) error {
	s := d.Status
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.ReadyReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
		return fmt.Errorf("deployment %s: %d replicas wanted, %d there, %d of the new version, %d ready", d.Name, *d.Spec.Replicas, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas)
	}
	return nil
}

// testApp is the main job: from the empty cluster to the migrated, seeded, running application, and what comes after.
func testApp(t *testing.T, a *app) {
	first := a.perchApp(t, "up", "-d")
	t.Run("FromNothing", func(t *testing.T) { testFromNothing(t, a, first) })
	t.Run("Unchanged", func(t *testing.T) { testUnchanged(t, a) })
	t.Run("Commands", func(t *testing.T) { testCommands(t, a) })
	t.Run("ChangedLine", func(t *testing.T) { testChangedLine(t, a) })
	t.Run("ChangedSetting", func(t *testing.T) { testChangedSetting(t, a) })
	t.Run("FailingMigration", func(t *testing.T) { testFailingMigration(t, a) })
	t.Run("Down", func(t *testing.T) { testDown(t, a) })
}

func testFromNothing(t *testing.T, a *app, first outcome) {
	t.Run("three replicas and a database are ready", func(t *testing.T) {
		a.node.ready(t, a.namespace, "web", 3)
		a.node.ready(t, a.namespace, "postgres", 1)
	})
	t.Run("the migration ran once, before the rollout", func(t *testing.T) {
		jobs, err := a.node.api.BatchV1().Jobs(a.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs.Items) != 1 || jobs.Items[0].Status.Succeeded != 1 {
			t.Fatalf("there are %d jobs: %v", len(jobs.Items), jobs.Items)
		}
		pods, err := a.node.pods(t.Context(), a.namespace, "web")
		if err != nil {
			t.Fatal(err)
		}
		ran, err := a.node.api.CoreV1().Pods(a.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + jobs.Items[0].Name})
		if err != nil || len(ran.Items) != 1 || ran.Items[0].Status.ContainerStatuses[0].State.Terminated == nil {
			t.Fatalf("pods of the migration: %v, %v", ran, err)
		}
		done := ran.Items[0].Status.ContainerStatuses[0].State.Terminated.FinishedAt // the Job says so later
		for _, p := range pods {
			if p.CreationTimestamp.Before(&done) {
				t.Errorf("pod %s is of %s, the migration ended %v", p.Name, p.CreationTimestamp, done)
			}
		}
	})
	t.Run("each service is a release", func(t *testing.T) {
		want := []string{"kube-native-postgres.v1", "kube-native-web.v1"}
		if diff := cmp.Diff(want, a.node.revisions(t, a.namespace)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("the image is tagged with the commit", func(t *testing.T) {
		image := a.node.deployment(t, a.namespace, "web").Spec.Template.Spec.Containers[0].Image
		if !strings.Contains(image, ":"+a.commit[:12]) || strings.HasSuffix(image, ":latest") {
			t.Errorf("the image is %s, the commit %s", image, a.commit)
		}
	})
	t.Run("up says where it answers", func(t *testing.T) {
		wantText(t, first.stdout, a.url())
		wantText(t, first.stderr, a.node.context(), "web 1", "postgres 1", "next: perch ")
	})
	t.Run("a job adds rows, once", func(t *testing.T) {
		wantText(t, a.perchApp(t, "run", "seed").all(), `"added":8`)
		wantText(t, a.perchApp(t, "run", "seed").all(), `"added":0`)
	})
	t.Run("the page shows rows, pod, address and sisters", func(t *testing.T) {
		p := readPage(mustFetch(t, a.url()))
		if len(p.greetings) != 8 || p.greetings["English"] != "Hello, Kubernetes" {
			t.Errorf("the rows are %v", p.greetings)
		}
		names := a.node.ready(t, a.namespace, "web", 3)
		if !slices.Contains(names, p.pod) {
			t.Errorf("the page names the pod %q, the pods are %v", p.pod, names)
		}
		eventually(t, 10*time.Second, "the page shows three sisters", func(ctx context.Context) error {
			body, err := fetch(ctx, a.url())
			if err != nil {
				return err
			}
			if peers := readPage(body).peers; len(peers) != 3 {
				return fmt.Errorf("it shows %v", peers)
			}
			return nil
		})
	})
	t.Run("requests are spread over the pods", func(t *testing.T) {
		pods := map[string]int{}
		for range 30 {
			pods[readPage(mustFetch(t, a.url())).pod]++
		}
		if len(pods) != 3 { // by chance: once in 60,000 times
			t.Errorf("30 requests were answered by %v", pods)
		}
	})
}

func testUnchanged(t *testing.T, a *app) {
	shape, pods := a.node.shape(t, a.namespace), a.node.podIDs(t, a.namespace)
	r := a.up(t, a.env()...)
	j := a.perchApp(t, "up", "-d", "-o", "json")
	if diff := cmp.Diff(shape, a.node.shape(t, a.namespace)); diff != "" {
		t.Errorf("objects changed, -before +after:\n%s", diff)
	}
	if diff := cmp.Diff(pods, a.node.podIDs(t, a.namespace)); diff != "" {
		t.Errorf("pods changed, -before +after:\n%s", diff)
	}
	wantText(t, r.stderr, "nothing changed", "service web: unchanged", "service postgres: unchanged")
	var result struct {
		Changed   bool
		URLs      []string
		Revisions map[string]int
	}
	if err := json.Unmarshal([]byte(j.stdout), &result); err != nil {
		t.Fatalf("%v: %s", err, j)
	}
	if result.Changed || !slices.Equal(result.URLs, []string{a.url()}) || !maps.Equal(result.Revisions, map[string]int{"web": 1, "postgres": 1}) {
		t.Errorf("the result is %+v", result)
	}
	t.Run("dry run says so too", func(t *testing.T) {
		r := a.perchApp(t, "up", "--dry-run")
		for line := range strings.Lines(r.stdout) {
			if !strings.HasPrefix(line, "unchanged") && !strings.HasPrefix(line, "nothing") {
				t.Errorf("the plan has %q", line)
			}
		}
	})
}

func testCommands(t *testing.T, a *app) {
	t.Run("ps", func(t *testing.T) {
		var pods []struct{ Name, Service, State string }
		r := a.perchApp(t, "ps", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &pods); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		running := map[string]int{}
		for _, p := range pods {
			if p.State == "Running" {
				running[p.Service]++
			}
		}
		if diff := cmp.Diff(map[string]int{"web": 3, "postgres": 1}, running); diff != "" {
			t.Errorf("-want +got:\n%s\n%s", diff, r.stdout)
		}
		wantText(t, a.perchApp(t, "ps").stdout, "SERVICE", "postgres:15")
	})
	t.Run("logs", func(t *testing.T) {
		r := a.perchApp(t, "logs", "web")
		if n := strings.Count(r.stdout, `"msg":"serving"`); n != 3 {
			t.Errorf("3 pods have started, %d said so:\n%s", n, r.stdout)
		}
		wantText(t, r.stdout, "web-")
		if strings.Contains(r.stdout, "database system is ready") {
			t.Error("there are lines of another service")
		}
	})
	t.Run("logs -f", func(t *testing.T) {
		p := a.start(t, command{dir: a.dir, args: []string{"logs", "-f", "--tail", "0", "web"}, env: a.env()})
		eventually(t, 20*time.Second, "a request is logged", func(ctx context.Context) error {
			if _, err := fetch(ctx, a.url()); err != nil {
				return err
			}
			return hasText(p.stdout.String(), `"path":"/"`)
		})
		p.interrupt(t)
		if r := p.endWithin(t, 10*time.Second); r.code != 130 {
			t.Errorf("Ctrl-C ends it with %s", r)
		}
	})
	t.Run("exec", func(t *testing.T) {
		sql := []string{"exec", "-T", "postgres", "psql", "-U", "kube-native", "-tA", "-c", "select count(*) from greetings"}
		if got := strings.TrimSpace(a.perchApp(t, sql...).stdout); got != "8" {
			t.Errorf("the table has %q rows", got)
		}
		wantText(t, a.perchApp(t, "exec", "web", "/kube-native", "ping").stdout, "pong")
		a.want(t, 7, command{dir: a.dir, env: a.env(), args: []string{"exec", "postgres", "sh", "-c", "exit 7"}})
		in := command{dir: a.dir, env: a.env(), args: []string{"exec", "-T", "postgres", "wc", "-c"}, stdin: strings.NewReader("12345")}
		if got := strings.TrimSpace(a.want(t, 0, in).stdout); got != "5" {
			t.Errorf("of 5 bytes of input %q came", got)
		}
	})
	t.Run("config", func(t *testing.T) {
		other := []string{"POSTGRES_PASSWORD=another"} // what config prints is private, and so it is another one's
		r := a.want(t, 0, command{dir: a.dir, env: other, args: []string{"config"}})
		wantText(t, r.stdout, "postgres:15", "pg_isready")
		objects := a.want(t, 0, command{dir: a.dir, env: other, args: []string{"config", "--format", "kubernetes"}}).stdout
		a.want(t, 0, command{
			args: []string{"kubectl", "create", "namespace", "manual"},
		})
		defer a.perch(t, "", "kubectl", "delete", "namespace", "manual", "--wait=false")
		manual := strings.ReplaceAll(objects, "namespace: "+a.namespace, "namespace: manual")
		applied := a.want(t, 0, command{
			args:  []string{"kubectl", "apply", "--server-side", "--dry-run=server", "-n", "manual", "-f", "-"},
			stdin: strings.NewReader(manual),
		})
		wantText(t, applied.stdout, "deployment.apps/web", "statefulset.apps/postgres", "service/web")
	})
	t.Run("version", func(t *testing.T) { wantText(t, a.perchApp(t, "version").stdout, kubernetesVersion) })
}

// testChangedLine changes one line of the application, which is what one does all day.
func testChangedLine(t *testing.T, a *app) {
	const old, changed = "A web page, a database, and the pods in between.", "A page, rows, and three pods."
	before := a.node.deployment(t, a.namespace, "web").Spec.Template.Spec.Containers[0].Image
	postgres := a.node.podNames(t, a.namespace, "postgres")
	a.replace(t, "internal/web/page.html", old, changed)
	s := startStream(t, a.url())
	r := a.up(t, a.env()...)
	if got := readPage(mustFetch(t, a.url())).tagline; got != changed {
		t.Errorf("after %s the page says %q", r.took, got)
	}
	t.Run("no request failed", func(t *testing.T) {
		seen := s.noneFailed(t)
		if seen[old] == 0 || seen[old]+seen[changed] != s.requests {
			t.Errorf("the versions seen are %v", seen)
		}
	})
	t.Run("only the new version is there", func(t *testing.T) {
		a.settled(t)
		image := a.node.deployment(t, a.namespace, "web").Spec.Template.Spec.Containers[0].Image
		if image == before {
			t.Errorf("the image is still %s", image)
		}
		if !strings.Contains(image, ":"+a.commit[:12]+"-") {
			t.Errorf("the image is %s: a changed tree is the commit and a hash", image)
		}
	})
	t.Run("the database was not rolled", func(t *testing.T) {
		if diff := cmp.Diff(postgres, a.node.podNames(t, a.namespace, "postgres")); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
		want := []string{"kube-native-postgres.v1", "kube-native-web.v1", "kube-native-web.v2"}
		if diff := cmp.Diff(want, a.node.revisions(t, a.namespace)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// testChangedSetting edits one variable: config has the name of its content, so the pods that read it roll.
func testChangedSetting(t *testing.T, a *app) {
	jobs := a.node.jobNames(t, a.namespace)
	a.replace(t, "compose.yaml", `PEERS_HOST: web-pods`, "LOG_LEVEL: debug\n      PEERS_HOST: web-pods")
	a.up(t, a.env()...)
	eventually(t, 20*time.Second, "the new setting is in force", func(context.Context) error {
		return hasText(a.perchApp(t, "logs", "--tail", "20", "web").stdout, `"path":"/ready"`)
	})
	t.Run("the migration did not run again", func(t *testing.T) {
		eventually(t, 10*time.Second, "the same job", func(context.Context) error {
			if diff := cmp.Diff(jobs, a.node.jobNames(t, a.namespace)); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	})
}

func (n *node) podNames(t *testing.T, namespace, service string) []string {
	t.Helper()
	pods, err := n.pods(t.Context(), namespace, service)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods {
		names = append(names, p.Name+" "+string(p.UID))
	}
	return names
}

func (n *node) jobNames(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := n.api.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, j := range list.Items {
		names = append(names, j.Name+" "+string(j.UID))
	}
	slices.Sort(names)
	return names
}

// testFailingMigration gives the new version a migration that PostgreSQL refuses.
func testFailingMigration(t *testing.T, a *app) {
	const file, old, changed = "internal/database/migrations/00003_notes.sql", "A page, rows, and three pods.", "Now with notes."
	pods := a.node.podNames(t, a.namespace, "web")
	a.replace(t, "internal/web/page.html", old, changed)
	a.write(t, file, "-- +goose Up\nALTER TABLE gretings ADD COLUMN note text;\n")
	s := startStream(t, a.url())
	r := a.want(t, 12, command{dir: a.dir, args: []string{"up", "-d"}, env: a.env()})
	t.Run("the old version serves on, untouched", func(t *testing.T) {
		if diff := cmp.Diff(pods, a.node.podNames(t, a.namespace, "web")); diff != "" {
			t.Errorf("pods changed, -before +after:\n%s", diff)
		}
		if seen := s.noneFailed(t); seen[old] != s.requests {
			t.Errorf("the versions seen are %v", seen)
		}
	})
	t.Run("the error is PostgreSQL's", func(t *testing.T) {
		wantText(t, r.stderr, "error: ", "hint: ", `relation \"gretings\" does not exist`, "00003_notes.sql")
	})
	t.Run("the same again fails in the same way", func(t *testing.T) {
		a.want(t, 12, command{dir: a.dir, args: []string{"up", "-d"}, env: a.env()})
	})
	t.Run("mended it is rolled out", func(t *testing.T) {
		a.write(t, file, "-- +goose Up\nALTER TABLE greetings ADD COLUMN note text;\n")
		a.up(t, a.env()...)
		if got := readPage(mustFetch(t, a.url())).tagline; got != changed {
			t.Errorf("the page says %q", got)
		}
	})
}

// testDown takes the application down and up: first with its data, then without.
func testDown(t *testing.T, a *app) {
	rows := readPage(mustFetch(t, a.url())).greetings
	a.perchApp(t, "down")
	t.Run("down removes all but the data", func(t *testing.T) {
		for _, line := range a.node.shape(t, a.namespace) {
			if !strings.HasPrefix(line, "claim/postgres-data ") && !strings.HasPrefix(line, "configmap/kube-root-ca.crt ") {
				t.Errorf("%s is left", line)
			}
		}
		if ids := a.node.podIDs(t, a.namespace); len(ids) > 0 {
			t.Errorf("pods are left: %v", ids)
		}
		if body, err := fetch(t.Context(), a.url()); err == nil {
			t.Errorf("it still answers: %s", body)
		}
	})
	t.Run("down again is no error", func(t *testing.T) { a.perchApp(t, "down") })
	t.Run("up has the data again", func(t *testing.T) {
		a.up(t, a.env()...)
		if diff := cmp.Diff(rows, readPage(mustFetch(t, a.url())).greetings); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
	})
	t.Run("down -v asks first", func(t *testing.T) {
		r := a.want(t, 2, command{dir: a.dir, args: []string{"down", "-v"}, env: a.env()})
		wantText(t, r.stderr, "--yes")
		a.node.ready(t, a.namespace, "web", 3)
	})
	a.perchApp(t, "down", "-v", "-y")
	t.Run("down -v removes the data too", func(t *testing.T) {
		if a.node.namespaceExists(t, a.namespace) {
			t.Errorf("the namespace is left with %v", a.node.shape(t, a.namespace))
		}
		eventually(t, 20*time.Second, "the volume is gone", func(ctx context.Context) error {
			volumes, err := a.node.api.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, v := range volumes.Items {
				if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == a.namespace {
					return fmt.Errorf("%s is %s", v.Name, v.Status.Phase)
				}
			}
			return nil
		})
	})
	t.Run("up begins anew", func(t *testing.T) {
		a.up(t, a.env()...)
		if p := readPage(mustFetch(t, a.url())); len(p.greetings) != 0 || p.pod == "" {
			t.Errorf("the page of a new database shows %v", p.greetings)
		}
	})
}
