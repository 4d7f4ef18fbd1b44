package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// farPage is where the world finds the application.
const farPage = "https://shop.example/"

// farApp is the reference application, with a target for the far cluster.
type farApp struct {
	project
	world *world
}

func newFarApp(t *testing.T, w *world) *farApp {
	t.Helper()
	a := &farApp{project: w.laptop.copyOf(t, "kube-native", "examples/kube-native"), world: w}
	data, err := os.ReadFile(a.dir + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "compose.yaml", string(data)+fmt.Sprintf(`
x-perch:
  targets:
    prod:
      context: %s
      namespace: %s
      registry: %s/acme
      pull_secret: registry
      ingress_class: %s
      production: true
`, farContext, farNamespace, w.registry.host, ingressClass))
	a.commit(t, "the application")
	return a
}

// deploy runs perch on the target, with its name typed.
func (a *farApp) deploy(args ...string) command {
	return command{dir: a.dir, args: append([]string{"--target", "prod", "--confirm", "prod"}, args...), env: []string{"POSTGRES_PASSWORD=" + password}}
}

// page is the application's, as the world sees it.
func (a *farApp) page(t *testing.T) page {
	t.Helper()
	body, err := a.world.browse(t.Context(), farPage)
	if err != nil {
		t.Fatal(err)
	}
	return readPage(body)
}

// publish is the rule that leads the world to the application, as its administrator has made it once.
func (w *world) publish(t *testing.T) {
	t.Helper()
	crt, key := w.ca.issue(t, "shop.example").write(t, w.far.temp)
	w.far.perch(t, "", "kubectl", "-n", farNamespace, "create", "secret", "tls", "shop-tls", "--cert="+crt, "--key="+key)
	w.far.perch(t, "", "kubectl", "-n", farNamespace, "create", "ingress", "shop", "--class="+ingressClass, "--rule=shop.example/*=web:4000,tls=shop-tls")
}

// testFarDeploy deploys the application there, rolls it under load, rolls it back and removes it.
func testFarDeploy(t *testing.T, w *world) {
	w.laptop.load(t, "golang:1.26")
	w.far.load(t, "postgres:15") // what a far cluster has from the registries of the world
	a := newFarApp(t, w)
	w.publish(t)
	before := w.inventory(t)
	t.Run("production is not changed without its name", func(t *testing.T) {
		r := w.laptop.want(t, 2, command{dir: a.dir, args: []string{"up", "-d", "--target", "prod", "--yes"}})
		wantText(t, r.stderr, "prod", "--confirm")
		w.unchanged(t, before)
	})
	first := w.laptop.want(t, 0, a.deploy("up", "-d"))
	t.Run("it says where it acts", func(t *testing.T) {
		wantText(t, first.stderr, "target prod", "context "+farContext, w.api.address, "namespace "+farNamespace)
	})
	t.Run("all is ready there", func(t *testing.T) {
		w.far.ready(t, farNamespace, "web", 3)
		w.far.ready(t, farNamespace, "postgres", 1)
	})
	t.Run("the image is the registry's, by its digest", func(t *testing.T) {
		image := w.far.deployment(t, farNamespace, "web").Spec.Template.Spec.Containers[0].Image
		if !strings.HasPrefix(image, w.registry.host+"/acme/") || !strings.Contains(image, "@sha256:") {
			t.Errorf("it is %s", image)
		}
	})
	t.Run("a job runs there", func(t *testing.T) {
		wantText(t, w.laptop.want(t, 0, a.deploy("run", "seed")).all(), `"added":8`)
	})
	t.Run("the world sees its page", func(t *testing.T) {
		if p := a.page(t); len(p.greetings) != 8 || p.pod == "" {
			t.Errorf("it sees %+v", p)
		}
	})
	t.Run("the same again changes nothing", func(t *testing.T) {
		shape := w.far.shape(t, farNamespace)
		w.laptop.want(t, 0, a.deploy("up", "-d"))
		if diff := cmp.Diff(shape, w.far.shape(t, farNamespace)); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
	})
	t.Run("rolled under load", func(t *testing.T) { testFarRoll(t, a) })
	t.Run("plain helm and kubectl see it", func(t *testing.T) {
		r := w.laptop.want(t, 0, command{program: tool(t, w.laptop.root, "helm"), args: []string{"--kube-context", farContext, "-n", farNamespace, "list", "-o", "json"}})
		var releases []struct{ Name, Status string }
		if err := json.Unmarshal([]byte(r.stdout), &releases); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		if len(releases) != 2 || releases[0].Status != "deployed" || releases[1].Status != "deployed" {
			t.Errorf("helm sees %v", releases)
		}
	})
	t.Run("nothing secret was said, here or by the registry", func(t *testing.T) {
		for _, said := range w.laptop.said.all() {
			if strings.Contains(said, registryPassword) || leaks(said) {
				t.Errorf("it was:\n%s", said)
			}
		}
	})
	t.Run("removed without a trace", func(t *testing.T) {
		w.laptop.want(t, 0, a.deploy("down", "--volumes", "--yes"))
		w.unchanged(t, before)
		if !w.far.namespaceExists(t, farNamespace) {
			t.Error("the namespace, which was not made by it, is gone")
		}
	})
}

func testFarRoll(t *testing.T, a *farApp) {
	const old, changed = "A web page, a database, and the pods in between.", "A page, rows, and three pods."
	w := a.world
	settled := func(ctx context.Context) error {
		d, err := w.far.api.AppsV1().Deployments(farNamespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return allReady(d)
	}
	a.replace(t, "internal/web/page.html", old, changed)
	s := startStreamBy(t, func(ctx context.Context) (string, error) { return w.browse(ctx, farPage) })
	w.laptop.want(t, 0, a.deploy("up", "-d"))
	// The ingress hears of new pods some time after they are ready, and of old ones before they end.
	says := func(want string) func(context.Context) error {
		return func(context.Context) error {
			if got := a.page(t).tagline; got != want {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		}
	}
	eventually(t, 20*time.Second, "the page is the new one", says(changed))
	eventually(t, 60*time.Second, "only the new version is there", settled)
	w.laptop.want(t, 0, a.deploy("rollback"))
	eventually(t, 20*time.Second, "the page is the old one again", says(old))
	eventually(t, 60*time.Second, "only the old version is there", settled)
	if seen := s.noneFailed(t); seen[old] == 0 || seen[changed] == 0 || seen[old]+seen[changed] != s.requests {
		t.Errorf("the versions seen are %v", seen)
	}
}
