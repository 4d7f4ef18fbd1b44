package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd/api"
)

// testFarRefused is about what must not be done, and about the words and the exit codes of that. Nothing is built or changed.
func testFarRefused(t *testing.T, w *world) {
	files := map[string]string{"compose.yaml": `name: refused
services:
  web: {image: "busybox:1.36", command: httpd -f, expose: ["80"], stop_grace_period: 1s}
x-perch:
  targets:
    stage: {context: ` + farContext + `, namespace: ` + farNamespace + `}
    nowhere: {context: nowhere}
    other: {context: other, namespace: ` + farNamespace + `}
`}
	p := w.laptop.project(t, "refused", files)
	before := w.inventory(t)
	run := func(t *testing.T, code int, args ...string) outcome {
		t.Helper()
		return p.want(t, code, command{dir: p.dir, args: args})
	}
	t.Run("a target that the file does not have", func(t *testing.T) {
		wantText(t, run(t, 2, "up", "-d", "--target", "stag").stderr, `no target "stag"`, "stage")
	})
	t.Run("a context that the kubeconfig does not have", func(t *testing.T) {
		wantText(t, run(t, 15, "up", "-d", "--target", "nowhere").stderr, "nowhere", "hint: ")
	})
	t.Run("a current context is not acted on", func(t *testing.T) {
		w.kubeconfig(t, func(c *api.Config) { c.CurrentContext = farContext })
		defer w.kubeconfig(t, func(c *api.Config) { c.CurrentContext = elsewhere })
		run(t, 0, "config", "--quiet")
		run(t, 0, "ps")
		w.unchanged(t, before)
	})
	t.Run("an API that does not answer", func(t *testing.T) {
		defer w.api.reopen(t)
		w.api.shut()
		wantText(t, run(t, 15, "up", "-d", "--target", "stage").stderr, w.api.address, "connection refused", "hint: ")
	})
	t.Run("a context that leads to another cluster than before", func(t *testing.T) {
		run(t, 0, "ps", "--target", "stage") // pinned now
		state, err := os.ReadFile(filepath.Join(w.laptop.home, ".local", "state", "perch", "clusters.json"))
		if err != nil {
			t.Fatal(err)
		}
		wantText(t, string(state), "refused/stage")
		var was api.Context
		w.kubeconfig(t, func(c *api.Config) {
			was = *c.Contexts[farContext]
			*c.Contexts[farContext] = *c.Contexts[w.laptop.context()] // somebody has renamed his contexts
		})
		for _, args := range [][]string{
			{"up", "-d", "--target", "stage"}, {"down", "-v", "--yes", "--target", "stage"}, {"plan", "--target", "stage"},
			{"--target", "stage", "kubectl", "get", "pods"}, {"--target", "stage", "helm", "list"},
		} {
			wantText(t, run(t, 17, args...).stderr, "pinned to cluster", "perch target pin")
		}
		w.kubeconfig(t, func(c *api.Config) { *c.Contexts[farContext] = was })
		run(t, 0, "ps", "--target", "stage")
	})
	w.unchanged(t, before)
}
