package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testAggregated registers an API that a pod answers, uses it as any other, and takes its pod away.
func testAggregated(t *testing.T, n whole) {
	program := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program+"/aggregated", "./testdata/aggregated")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.trustFrontProxy(t)
	n.apply(t, "aggregated.yaml", "PROGRAM", program)
	const service = "apiservice/v1.songs.example.com"
	n.kubectl(t, 0, "wait", service, "--for=condition=Available", "--timeout=90s")
	eventually(t, 30*time.Second, "discovery knows it", func(ctx context.Context) error { // the API server looks anew every few seconds
		if r := n.exec(ctx, command{args: []string{"kubectl", "api-resources", "--api-group=songs.example.com", "--no-headers"}}); !strings.Contains(r.stdout, "Song") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	t.Run("it is used as any other", func(t *testing.T) {
		wantText(t, n.kubectl(t, 0, "get", "songs").stdout, "dawn")
		asked := n.kubectl(t, 0, "get", "song", "dusk", "-o", "jsonpath={.metadata.name} {.spec.asked}").stdout
		if asked != "dusk perch:admin" {
			t.Errorf("it knows who asks as %q", asked)
		}
	})
	t.Run("rights hold for it", func(t *testing.T) {
		as := []string{"--as=system:serviceaccount:whole:listener", "get", "songs"}
		n.kubectl(t, 0, "create", "serviceaccount", "listener")
		wantText(t, n.kubectl(t, 1, as...).stderr, "forbidden")
		n.kubectl(t, 0, "create", "role", "listener", "--verb=get,list", "--resource=songs.songs.example.com")
		n.kubectl(t, 0, "create", "rolebinding", "listener", "--role=listener", "--serviceaccount=whole:listener")
		eventually(t, 10*time.Second, "the right holds", func(ctx context.Context) error {
			if r := n.exec(ctx, command{args: append([]string{"kubectl", "-n", "whole"}, as...)}); r.code != 0 {
				return fmt.Errorf("%s", r)
			}
			return nil
		})
	})
	t.Run("its pod believes nobody but the API server", func(t *testing.T) {
		if got, err := n.inside(t.Context(), "sh", "-c", "exec 3<>/dev/tcp/songs/443 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 3 cat <&3"); err == nil && strings.Contains(got, "200 OK") {
			t.Errorf("it answers %q", got)
		}
	})
	t.Run("without its pod that is said, and all else goes on", func(t *testing.T) {
		n.kubectl(t, 0, "delete", "pod", "songs")
		n.kubectl(t, 0, "wait", service, "--for=condition=Available=false", "--timeout=60s")
		wantText(t, n.kubectl(t, 0, "get", service).stdout, "False (MissingEndpoints)")
		wantText(t, n.kubectl(t, 1, "get", "songs.v1.songs.example.com").stderr, "the server is currently unable to handle the request")
		n.kubectl(t, 0, "get", "pods")
		n.kubectl(t, 0, "delete", service)
	})
}

// trustFrontProxy puts the certificate authority of the API server's proxy where the pod reads it: the ConfigMap that every cluster
// has for that is in another namespace.
func (n whole) trustFrontProxy(t *testing.T) {
	t.Helper()
	told, err := n.api.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "front-proxy"}, Data: map[string]string{"ca.crt": told.Data["requestheader-client-ca-file"]},
	}
	if _, err := n.api.CoreV1().ConfigMaps("whole").Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
