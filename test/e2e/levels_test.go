package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testLevels changes what a project asks for, and looks at what its namespace lets in.
func testLevels(t *testing.T, n *node) {
	const plain = `
services:
  web: {image: "busybox:1.36", command: [sleep, "3600"], restart: always, stop_grace_period: 1s}
`
	p := n.user.project(t, "leveled", map[string]string{"compose.yaml": plain})
	level := func(t *testing.T, namespace, want string) {
		t.Helper()
		ns, err := n.api.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != want {
			t.Errorf("namespace %s enforces %q, wanted %q", namespace, got, want)
		}
	}
	intruder := func(t *testing.T) error {
		t.Helper()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "intruder"}, Spec: corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{Name: "a", Image: "busybox:1.36"}}}}
		_, err := n.api.CoreV1().Pods("leveled").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	t.Run("a project that asks for nothing has baseline", func(t *testing.T) {
		p.up(t)
		level(t, "leveled", "baseline")
		if err := intruder(t); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("a pod that sees the node's processes: %v", err)
		}
	})
	t.Run("one that asks for more has it, and the key is told", func(t *testing.T) {
		p.write(t, "compose.yaml", strings.Replace(plain, "restart:", "privileged: true, restart:", 1))
		planned := n.want(t, 1, command{dir: p.dir, args: []string{"plan"}})
		wantText(t, planned.stdout, "security", "services.web.privileged")
		wantText(t, p.up(t).stderr, "Pod Security is privileged for services.web.privileged")
		level(t, "leveled", "privileged")
		n.ready(t, "leveled", "web", 1)
	})
	t.Run("and loses it when it does not any more", func(t *testing.T) {
		p.write(t, "compose.yaml", plain)
		wantText(t, p.up(t).stderr, "Pod Security is baseline")
		level(t, "leveled", "baseline")
		wantText(t, p.up(t).stderr, "nothing changed")
	})
	t.Run("a rollback brings it back", func(t *testing.T) {
		n.want(t, 0, command{dir: p.dir, args: []string{"rollback", "2", "-y"}})
		level(t, "leveled", "privileged")
		n.ready(t, "leveled", "web", 1)
	})
	t.Run("what somebody else has set is left alone", func(t *testing.T) {
		n.perch(t, "", "kubectl", "label", "namespace", "leveled", "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
		p.up(t)
		level(t, "leveled", "baseline")
		n.namespace(t, "theirs", nil)
		n.perch(t, p.dir, "up", "-d", "-n", "theirs")
		level(t, "theirs", "")
	})
}
