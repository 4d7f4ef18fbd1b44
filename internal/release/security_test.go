package release

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/kube"
)

// TestSecurityFollowsTheProject deploys a project that asks for more, and then no more, and takes it back.
func TestSecurityFollowsTheProject(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "levels"
	controllers(t, c, ns)
	level := func(want string) {
		t.Helper()
		n, err := c.Interface.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Labels["pod-security.kubernetes.io/enforce"]; got != want {
			t.Errorf("the namespace enforces %q (%s), wanted %q", got, n.Annotations[kube.SecurityAnnotation], want)
		}
	}
	wanted := func(more bool) Wanted {
		w := shop(t, ns, "web:1", "web:1")
		if more {
			d := deployment("web", "web:1", 2, "web-env-1")
			d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
			replace(t, &w, "web", d)
			w.Security = kube.Security{Privileged: true, Because: "services.web.privileged"}
		}
		return w
	}
	for _, more := range []bool{false, true, false} {
		if _, _, err := deploy(t, c, wanted(more)); err != nil {
			t.Fatal(err)
		}
		level(map[bool]string{false: "baseline", true: "privileged"}[more])
	}
	p, _, err := deploy(t, c, wanted(false))
	if err != nil || p.Changes() {
		t.Errorf("it is not settled: %v\n%s", err, p)
	}
	rb, err := PlanRollback(t.Context(), c, "shop", ns, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := ExecuteRollback(t.Context(), c, rb, &recorder{}, ExecuteOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	level("privileged")
}

// TestSavedPlanOfAFirstInstall has steps that are done before the plan is made anew under the lock.
func TestSavedPlanOfAFirstInstall(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "saved-first"
	controllers(t, c, ns)
	w := shop(t, ns, "web:1", "web:1")
	o, err := Observe(t.Context(), c, w.Project, ns)
	if err != nil {
		t.Fatal(err)
	}
	planned, err := Compare(w, o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(planned.Steps)
	if err != nil {
		t.Fatal(err)
	}
	var saved []Step
	if err := json.Unmarshal(data, &saved); err != nil {
		t.Fatal(err)
	}
	if _, _, err := deployWith(t, c, w, ExecuteOptions{Planned: saved, Timeout: time.Minute}); err != nil {
		t.Error(err)
	}
}
