package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// farRouted is a page with a name of its own behind a Gateway, which has the certificate.
const farRouted = `name: routed
services:
  web:
    image: busybox:1.36
    command: [sh, -c, "mkdir /tmp/www; echo %s > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
    expose: ["8080"]
    healthcheck: {test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 30s, start_interval: 1s}
    stop_grace_period: 1s
    x-perch: {host: {name: routed, tls: far-tls}}
x-perch:
  targets:
    stage: {context: far, namespace: shop, gateway: ingress/far, domain: far.example}
`

const farRoute = "https://routed.far.example/"

const gatewayObjects = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: ingress-gateways}
rules:
- {apiGroups: [""], resources: [namespaces, configmaps], verbs: [list, watch]}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses, gateways, httproutes, grpcroutes, tlsroutes, referencegrants, backendtlspolicies]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status, gateways/status, httproutes/status, grpcroutes/status, tlsroutes/status, backendtlspolicies/status]
  verbs: [update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ingress-gateways}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress-gateways}
subjects: [{kind: ServiceAccount, name: ingress, namespace: ingress}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: far}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: far, namespace: ingress}
spec:
  gatewayClassName: far
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - name: https
    port: 443
    protocol: HTTPS
    hostname: "*.far.example"
    tls: {certificateRefs: [{name: far-tls}]}
    allowedRoutes: {namespaces: {from: All}}
`

// installGateway does what the far cluster's administrator does when the Gateway API comes: its kinds, and a Gateway that lets
// in the routes of all namespaces. The controller is told of them, and served Ingresses only until then.
func (w *world) installGateway(t *testing.T) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	list.Dir = w.far.root
	dir, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	kinds := filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard")
	w.far.perch(t, "", "kubectl", "apply", "--server-side", "-f", kinds)
	w.far.perch(t, "", "kubectl", "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
	crt, key := w.ca.issue(t, "*.far.example").write(t, w.far.temp)
	w.far.perch(t, "", "kubectl", "-n", "ingress", "create", "secret", "tls", "far-tls", "--cert="+crt, "--key="+key)
	w.far.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(gatewayObjects)})
	w.far.perch(t, "", "kubectl", "-n", "ingress", "patch", "deployment", "ingress", "--type=json",
		"--patch", `[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "-gateways"}]`)
	w.far.perch(t, "", "kubectl", "-n", "ingress", "rollout", "status", "deployment/ingress", "--timeout=60s")
	w.far.perch(t, "", "kubectl", "-n", "ingress", "wait", "--for=condition=Programmed", "--timeout=30s", "gateway/far")
}

// testFarGateway gives a service a name by a route of a Gateway, once the account may make routes.
func testFarGateway(t *testing.T, w *world) {
	w.far.load(t, "busybox:1.36")
	w.installGateway(t)
	before := w.inventory(t)
	p := w.laptop.project(t, "routed", map[string]string{"compose.yaml": fmt.Sprintf(farRouted, "one")})
	run := func(args ...string) command { return command{dir: p.dir, args: append(args, "--target", "stage")} }
	t.Run("an account that may make no routes is told so, and nothing is changed", func(t *testing.T) {
		r := w.laptop.want(t, 2, run("plan"))
		wantText(t, r.stderr, "create, patch, delete httproutes.gateway.networking.k8s.io in namespace "+farNamespace)
		w.unchanged(t, before)
		w.grant(t, r.stderr)
	})
	t.Run("what it was told to ask for is enough", func(t *testing.T) { w.laptop.want(t, 1, run("plan")) })
	first := w.laptop.want(t, 0, run("up", "-d"))
	t.Run("up says where it answers", func(t *testing.T) { wantText(t, first.stdout, farRoute) })
	t.Run("it is a route, and no Ingress", func(t *testing.T) {
		r := w.far.perch(t, "", "kubectl", "-n", farNamespace, "get", "httproutes,ingresses", "-o", "name")
		if r.stdout != "httproute.gateway.networking.k8s.io/web\n" {
			t.Error(r)
		}
	})
	t.Run("the page answers by its name, with the Gateway's certificate", func(t *testing.T) { testFarRouted(t, w, "one") })
	t.Run("rolled under load", func(t *testing.T) {
		p.write(t, "compose.yaml", fmt.Sprintf(farRouted, "two"))
		s := startStreamBy(t, func(ctx context.Context) (string, error) { return w.browse(ctx, farRoute) })
		w.laptop.want(t, 0, run("up", "-d"))
		eventually(t, 30*time.Second, "the old pod is gone", func(ctx context.Context) error {
			pods, err := w.far.api.CoreV1().Pods(farNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=web"})
			if err == nil && len(pods.Items) != 1 {
				err = fmt.Errorf("there are %d", len(pods.Items))
			}
			return err
		})
		s.noneFailed(t)
		testFarRouted(t, w, "two")
	})
	w.laptop.want(t, 0, run("down", "--volumes", "--yes"))
	w.far.perch(t, "", "kubectl", "-n", farNamespace, "delete", "role,rolebinding", "perch-project-routed")
	w.unchanged(t, before)
}

// testFarRouted wants the page to be there, and no other one.
func testFarRouted(t *testing.T, w *world, want string) {
	t.Helper()
	eventually(t, 20*time.Second, "the page", func(ctx context.Context) error {
		body, err := w.browse(ctx, farRoute)
		if err != nil {
			return err
		}
		return hasText(body, want)
	})
	_, err := w.browse(t.Context(), "https://another.far.example/")
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("another name: %v", err)
	}
}

// grant applies the Role that a hint gives, as the administrator who is sent it.
func (w *world) grant(t *testing.T, hint string) {
	t.Helper()
	_, role, ok := strings.Cut(hint, "docs/permissions.md:\n")
	if !ok {
		t.Fatalf("it gives no Role:\n%s", hint)
	}
	w.far.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(role)})
}
