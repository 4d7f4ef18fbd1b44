package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testTools uses kubectl and helm as their own projects ship them: they know of the node what the kubeconfig says.
func testTools(t *testing.T, a *app) {
	kubectl, helm := tool(t, a.root, "kubectl"), tool(t, a.root, "helm")
	a.ensure(t)
	plain := func(t *testing.T, program string, args ...string) outcome {
		t.Helper()
		context := "--context=" + a.node.context()
		if program == helm {
			context = "--kube-context=" + a.node.context()
		}
		return a.want(t, 0, command{program: program, args: append([]string{context, "-n", a.namespace}, args...)})
	}
	t.Run("get nodes", func(t *testing.T) {
		r := plain(t, kubectl, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}")
		if r.stdout != kubernetesVersion {
			t.Errorf("it says %q", r.stdout)
		}
		wantText(t, plain(t, kubectl, "get", "nodes").stdout, " Ready ", kubernetesVersion)
	})
	t.Run("client and server are of one version", func(t *testing.T) {
		var v struct{ ClientVersion, ServerVersion struct{ GitVersion string } }
		r := plain(t, kubectl, "version", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		if v.ClientVersion.GitVersion != kubernetesVersion || v.ServerVersion.GitVersion != kubernetesVersion {
			t.Errorf("they are %+v", v)
		}
	})
	t.Run("logs", func(t *testing.T) {
		wantText(t, plain(t, kubectl, "logs", "deployment/web", "--tail=-1").stdout, `"msg":"serving"`)
	})
	t.Run("exec", func(t *testing.T) {
		r := plain(t, kubectl, "exec", "statefulset/postgres", "--", "psql", "-U", "kube-native", "-tAc", "select 6 * 7")
		if strings.TrimSpace(r.stdout) != "42" {
			t.Errorf("it says %q", r.stdout)
		}
	})
	t.Run("port-forward", func(t *testing.T) { testPortForward(t, a, kubectl) })
	t.Run("cp", func(t *testing.T) { testCopy(t, a, kubectl) })
	t.Run("helm list", func(t *testing.T) {
		var releases []struct{ Name, Namespace, Status string }
		r := plain(t, helm, "list", "-A", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &releases); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		status := map[string]string{}
		for _, one := range releases {
			if one.Namespace == a.namespace {
				status[one.Name] = one.Status
			}
		}
		if diff := cmp.Diff(map[string]string{"kube-native-web": "deployed", "kube-native-postgres": "deployed"}, status); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("helm history and get", func(t *testing.T) {
		wantText(t, plain(t, helm, "history", "kube-native-web").stdout, "deployed")
		wantText(t, plain(t, helm, "get", "manifest", "kube-native-web").stdout, "kind: Deployment", "kind: Service")
	})
	t.Run("ours are the same programs", func(t *testing.T) {
		wantText(t, a.perch(t, "", "kubectl", "get", "nodes").stdout, " Ready ", kubernetesVersion)
		wantText(t, a.perch(t, "", "helm", "list", "-A").stdout, "kube-native-web", "deployed")
		r := a.want(t, 1, command{args: []string{"kubectl", "get", "pod", "nobody", "-n", a.namespace}})
		wantText(t, r.stderr, `"nobody" not found`)
	})
}

var forwardPattern = regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)

func testPortForward(t *testing.T, a *app, kubectl string) {
	p := a.start(t, command{program: kubectl, args: []string{"--context=" + a.node.context(), "-n", a.namespace, "port-forward", "service/web", ":4000"}})
	p.says(t, 20*time.Second, "Forwarding from 127.0.0.1:")
	address := forwardPattern.FindStringSubmatch(p.stdout.String())
	if address == nil {
		t.Fatalf("it says %q", p.stdout)
	}
	eventually(t, 10*time.Second, "the page comes", func(ctx context.Context) error {
		body, err := fetch(ctx, "http://"+address[1]+"/")
		if err != nil {
			return err
		}
		if readPage(body).pod == "" {
			return fmt.Errorf("no page: %s", body)
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	p.endWithin(t, 10*time.Second)
}

// testCopy needs a container with tar, which neither the application nor the database has.
func testCopy(t *testing.T, a *app, kubectl string) {
	run := func(args ...string) outcome {
		t.Helper()
		return a.want(t, 0, command{program: kubectl, args: append([]string{"--context=" + a.node.context()}, args...)})
	}
	run("run", "copy", "--image=busybox:1.36", "--restart=Never", "--command", "--", "sleep", "3600")
	defer run("delete", "pod", "copy", "--now", "--wait=false")
	run("wait", "--for=condition=Ready", "pod/copy", "--timeout=60s")
	data := bytes.Repeat([]byte("perch\n"), 50_000)
	there, back := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "back")
	if err := os.WriteFile(there, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run("cp", there, "copy:/tmp/file")
	run("cp", "copy:/tmp/file", back)
	got, err := os.ReadFile(back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes went, %d came back", len(data), len(got))
	}
}
