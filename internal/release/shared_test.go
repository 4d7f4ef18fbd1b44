package release

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/progress"
)

// TestShared: a login at a registry is there before the first pod, is renewed though no service changes, and goes with the
// project.
func TestShared(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "shared"
	controllers(t, c, ns)
	login := func(value string) []runtime.Object {
		s := &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: "pull"},
			Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(value)},
		}
		Shared(&s.ObjectMeta, ns)
		return []runtime.Object{s}
	}
	secrets := c.Interface.CoreV1().Secrets(ns)
	for _, value := range []string{`{"auths":{"a":{}}}`, `{"auths":{"b":{}}}`} {
		w := shop(t, ns, "web:1", "web:1")
		w.Shared = login(value)
		if _, _, err := deploy(t, c, w); err != nil {
			t.Fatal(err)
		}
		s, err := secrets.Get(t.Context(), "pull", metav1.GetOptions{})
		if err != nil || string(s.Data[corev1.DockerConfigJsonKey]) != value {
			t.Errorf("the Secret: %v, want %s", err, value)
		}
	}
	if err := Remove(t.Context(), c, "shop", ns, RemoveOptions{Timeout: time.Minute}, progress.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Get(t.Context(), "pull", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it was left there: %v", err)
	}
}
