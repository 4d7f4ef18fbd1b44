package release

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServiceGainsAndLosesItsPort is a Service without ports, which has no address, that gets one, and the other way
// round: the API server refuses both as updates.
func TestServiceGainsAndLosesItsPort(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "gains"
	controllers(t, c, ns)
	headless, ported := service("app"), service("app")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	ported.Spec.Ports = []corev1.ServicePort{{Name: "tcp-80", Port: 80}}
	for i, s := range []*corev1.Service{headless, ported, headless} {
		w := Wanted{Project: "shop", Namespace: ns, Units: []Unit{unit(t, "app", deployment("app", "app:1", 1), s)}}
		if _, _, err := deploy(t, c, w); err != nil {
			t.Fatalf("deploy %d: %v", i, err)
		}
		live, err := c.Interface.CoreV1().Services(ns).Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := live.Spec.ClusterIP == corev1.ClusterIPNone; got != (s == headless) {
			t.Errorf("deploy %d: address %q", i, live.Spec.ClusterIP)
		}
	}
}

func TestImmutable(t *testing.T) {
	t.Parallel()
	headless := service("app")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	manifest := `---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
`
	tests := map[string]struct {
		unit Unit
		want []Ref
	}{
		"the same":       {unit(t, "app", service("app")), nil},
		"no address now": {unit(t, "app", headless), []Ref{{"Service", "app"}}},
		"a new object":   {unit(t, "app", service("other")), nil},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, immutable(&tt.unit, Installed{Manifest: manifest})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
