package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// faultSteps are the rows of TestFaults that take several steps.
func faultSteps() map[string]func(t *testing.T, n *node, namespace string) {
	return map[string]func(t *testing.T, n *node, namespace string){
		"failure action rollback":      testFailureAction,
		"rollback on failure":          testRollbackFlag,
		"migration that waits":         testLockedMigration,
		"config edit":                  testConfigEdit,
		"secret edit":                  testSecretEdit,
		"scale during rollout":         testScaleDuringRollout,
		"release removed by hand":      testReleaseRemoved,
		"objects removed by hand":      testObjectsRemoved,
		"migration mended and retried": testMigrationMended,
	}
}

// database is a version with a database beside it, and a migration of web when there is a statement.
func database(web, statement string) string {
	const service = `
  db:
    image: postgres:15
    environment: {POSTGRES_PASSWORD: secret}
    healthcheck: {test: ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "postgres"], interval: 1s}
    stop_grace_period: 1s
`
	if statement != "" {
		web = strings.TrimRight(web, "\n") + fmt.Sprintf(`
    depends_on: {db: {condition: service_healthy}}
    pre_start:
      - image: postgres:15
        command: ["psql", "-v", "ON_ERROR_STOP=1", "-c", %q]
        environment: {PGHOST: db, PGUSER: postgres, PGPASSWORD: secret, PGOPTIONS: "-c lock_timeout=1s"}
`, statement)
	}
	return strings.TrimRight(web, "\n") + service
}

// crashing is good with another program, which ends at once.
func crashing(extra string) string {
	return bad + `    command: ["sh", "-c", "echo the last words; exit 1"]` + "\n" + extra
}

const failureAction = "    deploy: {update_config: {failure_action: rollback}}\n"

func testFailureAction(t *testing.T, n *node, namespace string) {
	testRolledBack(t, n, namespace, good+failureAction, crashing(failureAction))
}

func testRollbackFlag(t *testing.T, n *node, namespace string) {
	testRolledBack(t, n, namespace, good, crashing(""), "--rollback-on-failure")
}

// testRolledBack wants the version before to be the deployed one again, and its pod never to have been touched.
func testRolledBack(t *testing.T, n *node, namespace, before, after string, args ...string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": before})
	p.up(t)
	serving := n.readyIDs(t, namespace)
	p.write(t, "compose.yaml", after)
	r := n.want(t, 14, command{dir: p.dir, args: append([]string{"up", "-d"}, args...)})
	t.Log(r)
	n.servesOn(t, namespace, serving)
	n.ready(t, namespace, "web", 1) // and no other pod is left
	wantText(t, r.stderr, "it exited with code 1", "rolled back to revision 1", "    the last words\n", "hint: ")
	if status := n.releases(t, namespace); status[namespace+"-web"] != "deployed" {
		t.Errorf("helm says %v", status)
	}
	d := n.deployment(t, namespace, "web")
	if command := strings.Join(append(d.Spec.Template.Spec.Containers[0].Command, d.Spec.Template.Spec.Containers[0].Args...), " "); !strings.Contains(command, "httpd") {
		t.Errorf("the deployment's command is %q", command)
	}
	p.write(t, "compose.yaml", before)
	wantText(t, p.up(t).stderr, "nothing changed")
	n.servesOn(t, namespace, serving)
}

// releases are the states of a namespace's releases, as helm lists them.
func (n *node) releases(t *testing.T, namespace string) map[string]string {
	t.Helper()
	var list []struct{ Name, Status string }
	r := n.perch(t, "", "helm", "list", "-n", namespace, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	status := map[string]string{}
	for _, one := range list {
		status[one.Name] = one.Status
	}
	return status
}

// testMigrationMended wants a failed migration to be kept to be read, and to be in nobody's way when it is mended.
func testMigrationMended(t *testing.T, n *node, namespace string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": database(good, "create table one (id int)")})
	p.up(t)
	serving := n.readyIDs(t, namespace)
	p.write(t, "compose.yaml", database(good, "create table two (id int); select 1/0"))
	for range 2 { // the second attempt replaces what is left of the first
		r := n.want(t, 12, command{dir: p.dir, args: []string{"up", "-d"}})
		wantText(t, r.stderr, "division by zero")
		n.servesOn(t, namespace, serving)
		jobs, err := n.api.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(jobs.Items, func(j batchv1.Job) bool { return j.Status.Failed == 1 }) {
			t.Error("no failed job is kept")
		}
	}
	p.write(t, "compose.yaml", database(good, "create table two (id int)"))
	p.up(t)
	n.answers(t, namespace, "first")
	if got := n.query(t, namespace, "select count(*) from two"); got != "0" {
		t.Errorf("the table two has %q rows", got)
	}
}

// query asks the database.
func (n *node) query(t *testing.T, namespace, statement string) string {
	t.Helper()
	r := n.perch(t, "", "kubectl", "exec", "-n", namespace, "deployment/db", "--", "psql", "-U", "postgres", "-tAc", statement)
	return strings.TrimSpace(r.stdout)
}

// testLockedMigration has a migration wait for a lock that the app holds: with lock_timeout it fails, and the app goes on.
func testLockedMigration(t *testing.T, n *node, namespace string) {
	const holding = `
  app:
    image: postgres:15
    depends_on: {db: {condition: service_healthy}}
    environment: {PGHOST: db, PGUSER: postgres, PGPASSWORD: secret}
    command: ["sh", "-c", "psql -c 'create table t (id int)'; (echo 'begin; lock table t; select 1;'; sleep 600) | psql"]
    stop_grace_period: 1s
`
	p := n.project(t, namespace, map[string]string{"compose.yaml": database(good, "") + holding})
	p.up(t)
	const locks = "select count(*) from pg_locks where relation = 't'::regclass and mode = 'AccessExclusiveLock' and granted"
	eventually(t, 20*time.Second, "the app holds the lock", func(ctx context.Context) error {
		r := n.exec(ctx, command{args: []string{"kubectl", "exec", "-n", namespace, "deployment/db", "--", "psql", "-U", "postgres", "-tAc", locks}})
		if strings.TrimSpace(r.stdout) != "1" {
			return fmt.Errorf("it does not: %s", r)
		}
		return nil
	})
	serving, pods := n.readyIDs(t, namespace), n.podIDs(t, namespace)
	p.write(t, "compose.yaml", database(good, "alter table t add column more int")+holding)
	r := n.want(t, 12, command{dir: p.dir, args: []string{"up", "-d"}})
	t.Log(r)
	if r.took > 30*time.Second {
		t.Errorf("it took %s", r.took)
	}
	wantText(t, r.stderr, "canceling statement due to lock timeout", "hint: ")
	n.servesOn(t, namespace, serving)
	now := n.podIDs(t, namespace)
	for _, pod := range pods {
		if !slices.Contains(now, pod) {
			t.Errorf("the pod %s was touched, now there are:\n  %s", pod, strings.Join(now, "\n  "))
		}
	}
	if got := n.query(t, namespace, locks); got != "1" {
		t.Errorf("the app has lost its lock: %q", got)
	}
}

// readers are three services that read different things.
const readers = `
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "echo first > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    expose: ["8080"]
    stop_grace_period: 1s
    environment: {GREETING: hello}
    pre_start: [{command: ["sh", "-c", "echo migrated"]}]
  other:
    image: busybox:1.36
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    environment: {GREETING: hello}
    stop_grace_period: 1s
  reader:
    image: busybox:1.36
    command: ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
    secrets: [token]
    stop_grace_period: 1s
secrets: {token: {file: token.txt}}
`

func testConfigEdit(t *testing.T, n *node, namespace string) {
	testEdit(t, n, namespace, "web", func(p project) {
		p.write(t, "compose.yaml", strings.Replace(readers, "GREETING: hello", "GREETING: good day", 1))
	}, "sh", "-c", `echo "$GREETING"`)
}

func testSecretEdit(t *testing.T, n *node, namespace string) {
	testEdit(t, n, namespace, "reader", func(p project) { p.write(t, "token.txt", "good day") }, "cat", "/run/secrets/token")
}

// testEdit changes what one service reads to "good day": only its pods may be new, and no migration may run.
func testEdit(t *testing.T, n *node, namespace, reader string, edit func(project), read ...string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": readers, "token.txt": "hello"})
	p.up(t)
	pods, jobs := n.podIDs(t, namespace), n.jobIDs(t, namespace)
	edit(p)
	r := p.up(t)
	eventually(t, 20*time.Second, "the old pod is gone", func(context.Context) error {
		if gone := missing(pods, n.podIDs(t, namespace)); len(gone) != 1 || !strings.HasPrefix(gone[0], reader+"-") {
			return fmt.Errorf("gone are %v", gone)
		}
		return nil
	})
	if diff := cmp.Diff(jobs, n.jobIDs(t, namespace)); diff != "" {
		t.Errorf("jobs, -before +after:\n%s", diff)
	}
	says := n.perch(t, "", append([]string{"kubectl", "exec", "-n", namespace, "deployment/" + reader, "--"}, read...)...)
	if strings.TrimSpace(says.stdout) != "good day" {
		t.Errorf("%s reads %q", reader, says.stdout)
	}
	for _, service := range []string{"web", "other", "reader"} {
		want := "service " + service + ": unchanged"
		if service == reader {
			want = "service " + service + ": updated"
		}
		wantText(t, r.stderr, want)
	}
}

// missing are those of before that are not there now.
func missing(before, now []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(one string) bool { return slices.Contains(now, one) })
}

// jobIDs are the names and UIDs of a namespace's jobs.
func (n *node) jobIDs(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := n.api.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 0, len(list.Items))
	for _, j := range list.Items {
		ids = append(ids, j.Name+" "+string(j.UID))
	}
	slices.Sort(ids)
	return ids
}

// slow is good in three replicas of which each takes some seconds to start.
func slow(text string) string {
	return strings.NewReplacer("echo first >", "sleep 3; echo "+text+" >").Replace(good) + "    deploy: {replicas: 3}\n"
}

// testScaleDuringRollout scales by hand while up rolls: it waits for what is asked for then.
func testScaleDuringRollout(t *testing.T, n *node, namespace string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": slow("first")})
	p.up(t)
	p.write(t, "compose.yaml", slow("second"))
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}})
	n.rolling(t, namespace)
	n.perch(t, "", "kubectl", "scale", "-n", namespace, "deployment/web", "--replicas=5")
	r := up.endWithin(t, faultLimit)
	if r.code != 0 {
		t.Errorf("it ended with %s", r)
	}
	n.ready(t, namespace, "web", 5)
	n.answers(t, namespace, "second")
	wantText(t, r.stderr, "5/5 ready")
}

// rolling waits until a second generation of web is on its way.
func (n *node) rolling(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, 30*time.Second, "web is being rolled", func(ctx context.Context) error {
		d, err := n.api.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Generation < 2 || d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas == 0 {
			return fmt.Errorf("generation %d, %d updated", d.Generation, d.Status.UpdatedReplicas)
		}
		return nil
	})
}

// testReleaseRemoved removes a release with helm.
func testReleaseRemoved(t *testing.T, n *node, namespace string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": good, "token.txt": ""})
	p.up(t)
	n.perch(t, "", "helm", "uninstall", namespace+"-web", "-n", namespace, "--wait")
	r := p.up(t)
	wantText(t, r.stderr, "service web: first install", "service web: installed")
	n.ready(t, namespace, "web", 1)
	n.answers(t, namespace, "first")
	if diff := cmp.Diff(map[string]string{namespace + "-web": "deployed"}, n.releases(t, namespace)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// testObjectsRemoved deletes what a release and its config have, one after the other.
func testObjectsRemoved(t *testing.T, n *node, namespace string) {
	p := n.project(t, namespace, map[string]string{"compose.yaml": good + "    environment: {GREETING: hello}\n"})
	p.up(t)
	for _, kind := range []string{"deployment", "service"} {
		n.perch(t, "", "kubectl", "delete", kind, "web", "-n", namespace, "--wait")
		wantText(t, p.up(t).stderr, kind+" web is gone")
		n.ready(t, namespace, "web", 1)
		n.answers(t, namespace, "first")
	}
	n.perch(t, "", "kubectl", "delete", "configmaps", "--all", "-n", namespace)
	p.up(t)
	n.perch(t, "", "kubectl", "delete", "pods", "--all", "-n", namespace)
	p.up(t)
	n.ready(t, namespace, "web", 1) // it finds its config
	n.answers(t, namespace, "first")
}

// testKilledInRollout kills the API server, the controllers, the scheduler and the kubelet in the middle of a rollout: up
// goes on where they do.
func testKilledInRollout(t *testing.T, n *node) {
	const namespace = "fault-killed"
	p := n.project(t, namespace, map[string]string{"compose.yaml": slow("first")})
	p.up(t)
	p.write(t, "compose.yaml", slow("second"))
	up := p.start(t, command{dir: p.dir, args: []string{"up", "-d"}})
	n.rolling(t, namespace)
	n.part(t, "kubernetes").kill(t)
	r := up.endWithin(t, 2*time.Minute)
	t.Log(r)
	if r.code != 0 {
		t.Errorf("it ended with %d", r.code)
	}
	eventually(t, 30*time.Second, "the node is ready", n.nodeReady)
	n.ready(t, namespace, "web", 3)
	n.answers(t, namespace, "second")
	if status := n.releases(t, namespace); status[namespace+"-web"] != "deployed" {
		t.Errorf("helm says %v", status)
	}
	wantText(t, p.up(t).stderr, "nothing changed")
}
