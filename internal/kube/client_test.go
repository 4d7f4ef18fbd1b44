package kube

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/fault"
)

const someKubeconfig = `apiVersion: v1
kind: Config
current-context: perch
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:1"}}
users:
- {name: u, user: {}}
contexts:
- {name: perch, context: {cluster: c, user: u, namespace: shop}}
- {name: perch-two, context: {cluster: c, user: u}}
- {name: prod, context: {cluster: c, user: u}}
- {name: broken, context: {cluster: nowhere, user: u}}
`

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for path, text := range map[string]string{good: someKubeconfig, bad: "clusters: [\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "missing")
	cases := []struct {
		name      string
		options   Options
		namespace string // of the client, when there is one
		fails     string // a part of the error
		hint      string
	}{
		{"current context", Options{Kubeconfig: good}, "shop", "", ""},
		{"other namespace", Options{Kubeconfig: good, Namespace: "test"}, "test", "", ""},
		{"context without a namespace", Options{Kubeconfig: good, Context: "perch-two"}, "default", "", ""},
		{"list with a missing file", Options{Kubeconfig: missing + ":" + good}, "shop", "", ""},
		{"no file", Options{Kubeconfig: missing}, "", "no current context", "perch cluster start"},
		{"unknown context", Options{Kubeconfig: good, Context: "staging"}, "", `no context "staging"`, "get-contexts"},
		{"embedded cluster that is not there", Options{Kubeconfig: good, Context: "perch-dev"}, "", `no context "perch-dev"`, "perch cluster start dev"},
		{"context without a cluster", Options{Kubeconfig: good, Context: "broken"}, "", `context "broken"`, "config view"},
		{"not YAML", Options{Kubeconfig: bad}, "", bad, "--kubeconfig"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(k.options)
			if k.fails == "" {
				if err != nil || c.Namespace != k.namespace {
					t.Fatalf("client %+v, error %v, want namespace %s", c, err, k.namespace)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), k.fails) || fault.KindOf(err) != fault.Unreachable {
				t.Fatalf("error %v, want one of kind Unreachable with %q", err, k.fails)
			}
			if !strings.Contains(fault.HintOf(err), k.hint) {
				t.Errorf("hint %q, want one with %q", fault.HintOf(err), k.hint)
			}
		})
	}
}

func TestExplainNoServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(someKubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for context, want := range map[string]string{
		"perch": "start it: perch cluster start", "perch-two": "start it: perch cluster start two",
		"prod": "is the cluster running? perch kubectl --context prod cluster-info",
	} {
		c, err := Load(Options{Kubeconfig: path, Context: context})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Pods(t.Context(), "", "")
		if fault.KindOf(err) != fault.Unreachable || !strings.Contains(err.Error(), "connection refused") ||
			!strings.HasPrefix(err.Error(), "cluster https://127.0.0.1:1 (context "+context+"): ") {
			t.Errorf("error %v, want one of kind Unreachable", err)
		}
		if hint := fault.HintOf(err); hint != want {
			t.Errorf("hint %q, want %q", hint, want)
		}
		_, err = c.Interface.CoreV1().Pods("x").Get(t.Context(), "", metav1.GetOptions{})
		if err == nil || fault.KindOf(c.Explain(err)) == fault.Unreachable {
			t.Errorf("an error of the request itself is explained as %v", c.Explain(err))
		}
	}
}

// TestSilent is what is said of a server that has not answered for long.
func TestSilent(t *testing.T) {
	t.Parallel()
	c, err := New(&rest.Config{Host: "https://127.0.0.1:1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	request := func(err error) error { return &url.Error{Op: "Put", URL: "https://127.0.0.1:1/long", Err: err} }
	for _, k := range []struct {
		err  error
		want string
	}{
		{request(errors.New("connection refused")), "has not answered for 30s: connection refused"},
		{request(context.DeadlineExceeded), "has not answered for 30s: no answer comes, and no refusal either"},
		{apierrors.NewServiceUnavailable("starting"), "has answered with errors only for 30s: starting"},
	} {
		err := c.Silent(30*time.Second, k.err)
		if want := "cluster https://127.0.0.1:1: the API server " + k.want; err.Error() != want || fault.KindOf(err) != fault.Unreachable {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
