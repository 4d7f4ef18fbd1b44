package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// toldWithin is how long `perch up` may go on after the cluster itself shows what is wrong. The bar is 5 s; the rest is for a
// machine that has much else to do, and for the end of the program.
const toldWithin = 9 * time.Second

// faultLimit is far below the five minutes for which up would wait for a service that just is not ready.
const faultLimit = 60 * time.Second

// good is a version that serves.
const good = `
services:
  web:
    image: busybox:1.36
    command: ["sh", "-c", "echo first > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    expose: ["8080"]
    stop_grace_period: 1s
`

// bad begins a version in which one thing is wrong.
const bad = `
services:
  web:
    image: busybox:1.36
    stop_grace_period: 1s
    expose: ["8080"]
`

// idle is a command that does nothing for long.
const idle = `    command: ["sh", "-c", "echo nothing to do; trap exit TERM; while :; do sleep 1; done"]` + "\n"

// fault is a deploy in which something goes wrong.
type fault struct {
	name    string
	before  string // the Compose file of a version that serves at 8080, as good does; "": there is none
	compose string
	prepare func(t *testing.T, n *node, namespace string) // after the version before was deployed
	args    []string                                      // of up
	env     []string
	code    int
	visible string   // what the status of an object or an event has as soon as the cause can be seen; "": it never can
	says    []string // on stderr: the cause, the event's words, the last lines of the log
	hint    string   // a part of the hint
}

// TestFaults is the table of what goes wrong: whatever it is, up ends soon with its exit code, says why and what to do, and
// leaves the version before serving. All rows share one cluster; -parallel says how many go on at once.
func TestFaults(t *testing.T) {
	u := newUser(t, "f")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36", "postgres:15")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	private := httptest.NewServer(http.HandlerFunc(needsLogin))
	defer private.Close()
	began := time.Now()
	t.Run("Table", func(t *testing.T) {
		for _, f := range faults(taken.Addr().(*net.TCPAddr).Port, strings.TrimPrefix(private.URL, "http://")) {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				testFault(t, n, f)
			})
		}
		for name, test := range faultSteps() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, n, faultName(name))
			})
		}
	})
	t.Run("Kubernetes killed in a rollout", func(t *testing.T) { testKilledInRollout(t, n) }) // alone: all others would notice
	t.Logf("the table took %s", time.Since(began).Round(time.Second))
}

// needsLogin is a registry that knows nobody.
func needsLogin(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
}

// faultName is the project of a row.
func faultName(name string) string {
	return "fault-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// faults are the rows. takenPort is one that somebody else listens on, private the address of a registry that wants a login.
func faults(takenPort int, private string) []fault {
	return append(append(containerFaults(), clusterFaults()...), []fault{
		{
			name: "bad image name", before: good, compose: strings.Replace(good, "busybox:1.36", "registry.invalid/nobody/nothing:1", 1),
			code: 10, says: []string{"registry.invalid/nobody/nothing:1"}, hint: "image",
		},
		{
			name: "image that needs a login", before: good, compose: strings.Replace(good, "busybox:1.36", private+"/private:1", 1),
			code: 10, says: []string{private + "/private:1"}, hint: "docker login",
		},
		{
			name: "port in use on the host", before: good, compose: good + fmt.Sprintf("    ports: [\"%d:8080\"]\n", takenPort),
			code: 1, says: []string{fmt.Sprint(takenPort), `"web"`}, hint: "port",
		},
		{
			name: "migration with an SQL error", before: database(good, ""), compose: database(good, "select * from nowhere"),
			code: 12, visible: "BackoffLimitExceeded", says: []string{"migrate web |", `relation "nowhere" does not exist`}, hint: "logs",
		},
	}...)
}

// containerFaults are those of the container itself.
func containerFaults() []fault {
	return []fault{
		{
			name: "exits 1", before: good, compose: bad + `    command: ["sh", "-c", "echo the last words; exit 1"]` + "\n",
			code: 13, visible: "CrashLoopBackOff",
			says: []string{"container web crashes: it exited with code 1", "BackOff: back-off restarting failed container web", "    the last words\n"}, hint: "perch logs web",
		},
		{
			name: "exits 1 and has no port", before: strings.Replace(good, "expose", "x-none", 1),
			compose: strings.Replace(bad, "expose", "x-none", 1) + `    command: ["sh", "-c", "echo the last words; exit 1"]` + "\n",
			code:    13, visible: "CrashLoopBackOff", says: []string{"container web crashes: it exited with code 1", "    the last words\n"}, hint: "perch logs web",
		},
		{
			name: "exits 0 at once", before: good, compose: bad + `    command: ["sh", "-c", "echo all is done"]` + "\n",
			code: 13, visible: "CrashLoopBackOff",
			says: []string{"container web ends again and again: it exited with code 0", "    all is done\n"}, hint: `restart: "no"`,
		},
		{
			name: "no such program", before: good, compose: bad + `    command: ["/no/such/program"]` + "\n",
			code: 13, visible: "StartError", says: []string{"could not be started: exec: \"/no/such/program\"", "no such file"}, hint: "command:",
		},
		{
			name: "out of memory", before: good,
			compose: bad + `    command: ["sh", "-c", "echo filling it; tail /dev/zero"]` + "\n    deploy: {resources: {limits: {memory: 16M}}}\n",
			code:    13, visible: "OOMKilled", says: []string{"container web was killed for using more memory than its limit", "    filling it\n"}, hint: "deploy.resources.limits.memory",
		},
		{
			name: "never ready", before: good,
			compose: bad + idle + `    healthcheck: {test: ["CMD", "sh", "-c", "echo the database is away; exit 1"], interval: 1s}` + "\n",
			args:    []string{"--timeout", "6s"}, code: 13,
			says: []string{"not ready in time: 0/1 ready", "probe failed: the database is away", "    nothing to do\n"}, hint: "perch logs web",
		},
		{
			name: "nobody listens on its port", before: good, compose: bad + idle, args: []string{"--timeout", "6s"}, code: 13,
			says: []string{"not ready in time: 0/1 ready", "connection refused", "    nothing to do\n"}, hint: "listen on port 8080, on all addresses",
		},
		{
			name: "killed by its liveness probe", before: good, compose: bad + idle + `    healthcheck: {test: ["CMD", "false"], interval: 1s}
    x-perch:
      liveness: {exec: ["sh", "-c", "echo the heart stands still; exit 1"], interval: 1s, retries: 1, start_period: 1s}
      startup: {exec: ["true"]}
`,
			code: 13, visible: "CrashLoopBackOff",
			says: []string{"container web is restarted again and again: liveness probe failed: the heart stands still", "    nothing to do\n"}, hint: "perch logs web",
		},
	}
}

// clusterFaults are those of what the cluster has, or lets be.
func clusterFaults() []fault {
	return []fault{
		{
			name: "missing secret", before: good, compose: bad + idle + "    secrets: [token]\nsecrets: {token: {external: true}}\n",
			code: 13, visible: "FailedMount", says: []string{`secret "token" not found`, "MountVolume.SetUp failed"},
			hint: "perch kubectl create secret generic token -n fault-missing-secret",
		},
		{
			name: "missing config", before: good, compose: bad + idle + "    configs: [settings]\nconfigs: {settings: {external: true}}\n",
			code: 13, visible: "FailedMount", says: []string{`configmap "settings" not found`}, hint: "perch kubectl create configmap settings -n fault-missing-config",
		},
		{
			name: "missing volume claim", compose: bad + idle + "    volumes: [\"data:/data\"]\nvolumes: {data: {external: true}}\n",
			code: 13, visible: "FailedScheduling", says: []string{`persistentvolumeclaim "data" not found`}, hint: "perch kubectl get persistentvolumeclaims -n fault-missing-volume-claim",
		},
		{
			name: "impossible resources", before: good, compose: bad + idle + "    deploy: {resources: {reservations: {cpus: \"1000\"}}}\n",
			code: 13, visible: "FailedScheduling", says: []string{"no node takes it", "Insufficient cpu"}, hint: "deploy.resources.reservations",
		},
		{
			name: "quota", before: good, compose: bad + idle, prepare: setQuota,
			code: 13, visible: "exceeded quota", says: []string{"its pods are refused", "exceeded quota: one-pod"}, hint: "perch kubectl describe resourcequota",
		},
		{
			name: "admission", before: good, compose: bad + idle, prepare: restrict,
			code: 13, visible: "violates PodSecurity", says: []string{"its pods are refused", `violates PodSecurity "restricted:latest"`, "allowPrivilegeEscalation"},
			hint: "security_opt: [no-new-privileges:true]",
		},
	}
}

// setQuota lets there be no pod besides the one that is there.
func setQuota(t *testing.T, n *node, namespace string) {
	t.Helper()
	n.perch(t, "", "kubectl", "create", "quota", "one-pod", "--hard=pods=1", "-n", namespace)
	eventually(t, 20*time.Second, "the quota knows what is used", func(ctx context.Context) error {
		q, err := n.api.CoreV1().ResourceQuotas(namespace).Get(ctx, "one-pod", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if used := q.Status.Used[corev1.ResourcePods]; used.Value() != 1 {
			return fmt.Errorf("used are %s pods", used.String())
		}
		return nil
	})
}

// restrict is Pod Security at its strictest.
func restrict(t *testing.T, n *node, namespace string) {
	t.Helper()
	n.perch(t, "", "kubectl", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
}

// testFault deploys the version before, then the one with the fault.
func testFault(t *testing.T, n *node, f fault) {
	name := faultName(f.name)
	p := n.project(t, name, nil)
	var serving []string
	if f.before != "" {
		p.write(t, "compose.yaml", f.before)
		p.up(t)
		serving = n.readyIDs(t, name)
	}
	if f.prepare != nil {
		f.prepare(t, n, name)
	}
	p.write(t, "compose.yaml", f.compose)
	up := p.start(t, command{dir: p.dir, args: append([]string{"up", "-d"}, f.args...), env: f.env})
	seen := n.seen(t, name, f.visible, up.ended)
	r := up.endWithin(t, faultLimit)
	ended := up.began.Add(r.took)
	t.Log(r) // to be read with -v: whether an error is clear is for people to judge
	if first := <-seen; f.visible != "" {
		told := ended.Sub(first)
		t.Logf("told %s after %q could be seen", told.Round(time.Millisecond), f.visible)
		if first.IsZero() || told > toldWithin {
			t.Errorf("the cluster showed %q at %s, up ended %s later", f.visible, first, told)
		}
	}
	if f.before != "" {
		n.servesOn(t, name, serving)
	}
	if r.code != f.code {
		t.Errorf("wanted exit code %d, got %d", f.code, r.code)
	}
	wantText(t, r.stderr, f.says...)
	_, hint, found := strings.Cut(r.stderr, "hint: ")
	if !found || !strings.Contains(hint, f.hint) {
		t.Errorf("wanted a hint with %q", f.hint)
	}
	if errors := strings.Count(r.stderr, "error: "); errors != 1 {
		t.Errorf("there are %d errors", errors)
	}
}

// seen looks until the text is in the namespace's pods, deployments, jobs or warnings, or until ended. It sends the time when
// it was found, the zero time when it was not.
func (n *node) seen(t *testing.T, namespace, text string, ended <-chan struct{}) <-chan time.Time {
	t.Helper()
	first := make(chan time.Time, 1)
	go func() {
		defer close(first)
		for over := false; text != ""; {
			if n.shows(t.Context(), namespace, text) {
				first <- time.Now()
				return
			}
			if over {
				return
			}
			select {
			case <-ended:
				over = true // one more look, since the last one may have been before
			case <-time.After(step):
			}
		}
	}()
	return first
}

func (n *node) shows(ctx context.Context, namespace, text string) bool {
	all := metav1.ListOptions{}
	pods, _ := n.api.CoreV1().Pods(namespace).List(ctx, all)
	deployments, _ := n.api.AppsV1().Deployments(namespace).List(ctx, all)
	jobs, _ := n.api.BatchV1().Jobs(namespace).List(ctx, all)
	events, _ := n.api.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	for _, list := range []any{pods, deployments, jobs, events} {
		if data, err := json.Marshal(list); err == nil && strings.Contains(string(data), text) {
			return true
		}
	}
	return false
}

// readyIDs are the UIDs of the ready pods of the service web.
func (n *node) readyIDs(t *testing.T, namespace string) []string {
	t.Helper()
	pods, err := n.pods(t.Context(), namespace, "web")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range pods {
		if podReady(p) {
			ids = append(ids, string(p.UID))
		}
	}
	if len(ids) == 0 {
		t.Fatalf("no pod of web is ready in %s", namespace)
	}
	return ids
}

// servesOn wants the pods of the version before to be ready still and, by the service's name, to answer.
func (n *node) servesOn(t *testing.T, namespace string, serving []string) {
	t.Helper()
	now := strings.Join(n.readyIDs(t, namespace), " ")
	for _, id := range serving {
		if !strings.Contains(now, id) {
			t.Errorf("a pod of the version before does not serve any more")
		}
	}
	n.answers(t, namespace, "first")
}

// answers wants the text from the service web, once it has a port.
func (n *node) answers(t *testing.T, namespace, text string) {
	t.Helper()
	services := n.api.CoreV1().Services(namespace)
	if s, err := services.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return
	}
	eventually(t, 10*time.Second, "web answers "+text, func(ctx context.Context) error {
		body, err := services.ProxyGet("http", "web", "8080", "/", nil).DoRaw(ctx)
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(body)); got != text {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}
