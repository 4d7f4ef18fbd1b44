package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// chartOverride makes the application's database a chart of somebody else: the one of the road by hand.
const chartOverride = `services:
  postgres:
    x-perch:
      chart:
        path: charts/postgres
        values: {user: kube-native, database: kube-native}
        secret_value: existingSecret
`

// providedOverride makes it one that is somewhere else, with another user, password and name.
const providedOverride = `services:
  postgres:
    x-perch:
      provided:
        url: postgres://shop_owner:${MANAGED_PASSWORD}@postgres.managed.svc.cluster.local:5432/shop_prod?sslmode=disable
`

// secretOverride has the URL in a Secret of the namespace.
const secretOverride = `services:
  postgres:
    x-perch:
      provided: {host: postgres.managed.svc.cluster.local, secret: shop-db, keys: {DATABASE_URL: url}}
`

// managedPassword is that of the database elsewhere; in a URL it needs to be escaped.
const managedPassword = "p@ss/w:rd"

const managed = `name: managed
services:
  postgres:
    image: postgres:15
    environment: {POSTGRES_USER: shop_owner, POSTGRES_DB: shop_prod, POSTGRES_PASSWORD: "` + managedPassword + `"}
    healthcheck: {test: [CMD, pg_isready, --host=127.0.0.1, --username=shop_owner, --dbname=shop_prod], interval: 1s, retries: 30}
`

// TestBackingServices has the same application with its database inside, as a chart, and provided from elsewhere: the page
// answers each time, and nothing of its environment is written anew.
func TestBackingServices(t *testing.T) {
	u := newUser(t, "backing")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "golang:1.26", "postgres:15")
	a := newApp(t, n)
	t.Run("Inside", func(t *testing.T) {
		a.up(t, a.env()...)
		a.wantSeeded(t, 8)
	})
	t.Run("Chart", func(t *testing.T) { testChartService(t, a) })
	t.Run("Provided", func(t *testing.T) { testProvidedService(t, a) })
	t.Run("Secret", func(t *testing.T) { testProvidedSecret(t, a) })
	t.Run("Inside again", func(t *testing.T) {
		a.write(t, "compose.override.yaml", "services: {}\n")
		wantText(t, a.perchApp(t, "up", "-d").stderr, "postgres 5")
		if got := len(readPage(mustFetch(t, a.url())).greetings); got != 8 {
			t.Errorf("the volume of before has %d greetings", got)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		a.perchApp(t, "down", "--volumes", "--yes")
		eventually(t, time.Minute, "the namespace is gone", func(context.Context) error {
			if n.namespaceExists(t, a.namespace) {
				return fmt.Errorf("it holds %v", n.shape(t, a.namespace))
			}
			return nil
		})
	})
}

// wantSeeded adds the rows to an empty database, which there is behind the page, and looks at the page.
func (a *app) wantSeeded(t *testing.T, added int) {
	t.Helper()
	env := append(a.env(), "MANAGED_PASSWORD="+escapedPassword())
	seed := a.want(t, 0, command{dir: a.dir, args: []string{"run", "seed"}, env: env})
	wantText(t, seed.all(), fmt.Sprintf(`"added":%d`, added))
	eventually(t, 30*time.Second, "the page shows the rows", func(ctx context.Context) error {
		body, err := fetch(ctx, a.url())
		if err != nil {
			return err
		}
		if got := readPage(body).greetings; len(got) != 8 {
			return fmt.Errorf("they are %v", got)
		}
		return nil
	})
}

func escapedPassword() string {
	return strings.NewReplacer("@", "%40", "/", "%2F", ":", "%3A").Replace(managedPassword)
}

func testChartService(t *testing.T, a *app) {
	a.write(t, "compose.override.yaml", chartOverride)
	wantText(t, a.perchApp(t, "up", "--dry-run").stdout, "upgrade", "it becomes the chart postgres 0.1.0", "downtime: ")
	a.up(t, a.env()...)
	a.wantSeeded(t, 8)
	wantText(t, a.perchApp(t, "plan").stdout, "nothing would change")
	wantText(t, a.perchApp(t, "ps", "postgres").stdout, "kube-native-postgres-0", "Running")
	wantText(t, a.perchApp(t, "logs", "postgres").stdout, "database system is ready to accept connections")
	wantText(t, a.perchApp(t, "logs", "postgres", "web").stdout, "database system is ready", "web-")
	wantText(t, a.perchApp(t, "psql", "--", "-tA", "-c", "select count(*) from greetings").stdout, "8")
	wantText(t, a.perchApp(t, "exec", "-T", "postgres", "cat", "/etc/hostname").stdout, "kube-native-postgres-0")
	wantText(t, a.perchApp(t, "why").stdout, "service postgres: well, 1/1 ready")
	wantText(t, a.perchApp(t, "helm", "get", "values", "kube-native-postgres", "-n", a.namespace).stdout, "user: kube-native", "existingSecret: postgres-secret-env-")

	a.replace(t, "compose.override.yaml", "database: kube-native}", "database: kube-native, storage: {size: 5}}")
	wrong := a.want(t, 11, command{dir: a.dir, args: []string{"up", "-d"}, env: a.env()})
	wantText(t, wrong.stderr, `compose.override.yaml:6: service "postgres": chart postgres does not take the value storage.size: got number, want string`)
	a.replace(t, "compose.override.yaml", "storage: {size: 5}", "terminationGracePeriodSeconds: 30")
	wantText(t, a.want(t, 1, command{dir: a.dir, args: []string{"plan"}, env: a.env()}).stdout, "value terminationGracePeriodSeconds changed")
	a.up(t, a.env()...)
	a.wantSeeded(t, 0)
}

func testProvidedService(t *testing.T, a *app) {
	a.project.user.project(t, "managed", map[string]string{"compose.yaml": managed}).up(t)
	a.write(t, "compose.override.yaml", providedOverride)
	env := append(a.env(), "MANAGED_PASSWORD="+escapedPassword())
	wantText(t, a.up(t, env...).stderr, " 0 failed") // the old database goes when nobody uses it any more
	a.wantSeeded(t, 8)
	sets, err := a.node.api.AppsV1().StatefulSets(a.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(sets.Items) != 0 {
		t.Errorf("stateful sets %v, %v", sets, err)
	}
	s, err := a.node.api.CoreV1().Services(a.namespace).Get(t.Context(), "postgres", metav1.GetOptions{})
	if err != nil || s.Spec.ExternalName != "postgres.managed.svc.cluster.local" {
		t.Errorf("service %v, %v", s, err)
	}
	run := func(code int, args ...string) outcome {
		return a.want(t, code, command{dir: a.dir, args: args, env: env})
	}
	const where = "provided from elsewhere"
	wantText(t, run(2, "psql").stderr, `service "postgres" is `+where+" (postgres.managed.svc.cluster.local:5432)")
	wantText(t, run(2, "logs", "postgres").stderr, where)
	wantText(t, run(0, "why").stdout, "service postgres: it is "+where)
	wantText(t, run(0, "plan").stdout, "nothing would change")
	if text := run(0, "config").all() + run(0, "config", "--format", "kubernetes").all(); strings.Contains(text, managedPassword) || strings.Contains(text, escapedPassword()) {
		t.Error("config shows the password")
	}
}

func testProvidedSecret(t *testing.T, a *app) {
	a.write(t, "compose.override.yaml", secretOverride)
	run := func(code int, args ...string) outcome {
		return a.want(t, code, command{dir: a.dir, args: args, env: a.env()})
	}
	before := a.node.podIDs(t, a.namespace)
	wantText(t, run(1, "up", "-d").stderr, "the Secret shop-db, which says where it is provided, is not in namespace kube-native",
		"perch kubectl create secret generic shop-db -n kube-native --from-literal=url=...")
	url := "postgres://shop_owner:" + escapedPassword() + "@postgres.managed.svc.cluster.local:5432/shop_prod"
	run(0, "kubectl", "create", "secret", "generic", "shop-db", "-n", a.namespace, "--from-literal=uri="+url)
	wantText(t, run(1, "up", "-d").stderr, "the Secret shop-db in namespace kube-native has no key url")
	if diff := cmp.Diff(before, a.node.podIDs(t, a.namespace)); diff != "" {
		t.Errorf("pods changed (-before +now):\n%s", diff)
	}
	run(0, "kubectl", "patch", "secret", "shop-db", "-n", a.namespace, "--type=merge", "-p", fmt.Sprintf(`{"stringData":{"url":%q}}`, url))
	run(0, "up", "-d")
	a.wantSeeded(t, 0)
	c := a.node.deployment(t, a.namespace, "web").Spec.Template.Spec.Containers[0]
	if i := slices.IndexFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == "DATABASE_URL" }); i < 0 || c.Env[i].ValueFrom.SecretKeyRef.Name != "shop-db" {
		t.Errorf("variables %v", c.Env)
	}
	run(0, "kubectl", "delete", "secret", "shop-db", "-n", a.namespace)
}
