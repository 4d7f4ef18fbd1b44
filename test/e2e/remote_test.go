package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRemote is about a cluster that perch did not start: far away, known by a kubeconfig only, to an account that may do
// something in one namespace. It pulls from a registry with a password, a certificate of the company's own authority, and
// nothing in it yet. Nothing of Perch is known to run there.
func TestRemote(t *testing.T) {
	w := newWorld(t)
	w.installIngress(t)
	t.Run("World", func(t *testing.T) { testWorld(t, w) })
	t.Run("Refused", func(t *testing.T) { testFarRefused(t, w) })
	t.Run("Lost", func(t *testing.T) { testFarLost(t, w) })
	t.Run("Host", func(t *testing.T) { testFarHost(t, w) })
	t.Run("Gateway", func(t *testing.T) { testFarGateway(t, w) })
	t.Run("RegistryIlls", func(t *testing.T) { testFarRegistryIlls(t, w) })
	t.Run("Deploy", func(t *testing.T) { testFarDeploy(t, w) })
}

// testWorld looks at the world itself: what the scenarios prove by it must not be true anyway.
func testWorld(t *testing.T, w *world) {
	kubectl := tool(t, w.laptop.root, "kubectl")
	may := func(args ...string) outcome {
		return w.laptop.exec(t.Context(), command{program: kubectl, args: append([]string{"--context", farContext}, args...)})
	}
	t.Run("the account may do something in its namespace, and nothing elsewhere", func(t *testing.T) {
		if r := may("-n", farNamespace, "get", "pods"); r.code != 0 {
			t.Error(r)
		}
		for _, args := range [][]string{{"-n", "kube-system", "get", "pods"}, {"get", "namespaces"}, {"get", "nodes"}, {"create", "namespace", "mine"}, {"get", "namespace", "kube-system"}} {
			if r := may(args...); r.code == 0 || !strings.Contains(r.stderr, "forbidden") {
				t.Errorf("it may: %s", r)
			}
		}
	})
	t.Run("the API can be out of reach, and comes back", func(t *testing.T) {
		defer w.api.reopen(t)
		w.api.shut()
		if r := may("-n", farNamespace, "get", "pods"); r.code == 0 {
			t.Error(r)
		}
		w.api.reopen(t)
		if r := may("-n", farNamespace, "get", "pods"); r.code != 0 {
			t.Error(r)
		}
	})
	t.Run("the registry wants the password", func(t *testing.T) {
		for password, want := range map[string]int{"": http.StatusUnauthorized, "another": http.StatusUnauthorized, registryPassword: http.StatusOK} {
			if status, _, err := w.registry.get(t.Context(), "/v2/", registryUser, password); err != nil || status != want {
				t.Errorf("password %q: status %d, %v", password, status, err)
			}
		}
	})
	t.Run("the far cluster does not have the laptop's images", func(t *testing.T) {
		nodes, err := w.far.api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, image := range nodes.Items[0].Status.Images {
			if i := slices.IndexFunc(image.Names, func(name string) bool {
				return strings.Contains(name, "kube-native") || strings.Contains(name, w.registry.host)
			}); i >= 0 {
				t.Errorf("it has %s", image.Names[i])
			}
		}
	})
	t.Run("the ingress answers, and has no page yet", func(t *testing.T) {
		eventually(t, 20*time.Second, "no page", func(ctx context.Context) error {
			_, err := w.browse(ctx, "http://nobody.example/")
			if err == nil {
				return errors.New("there is a page")
			}
			if !strings.Contains(err.Error(), "404") {
				return fmt.Errorf("it does not answer: %w", err)
			}
			return nil
		})
	})
}
