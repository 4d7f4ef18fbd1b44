package fit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cmpdiff "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/progress"
)

// server is the one API server of the package's tests, started by the first test that needs it, so that the pure tests
// can be run without.
var server = sync.OnceValues(func() (*apitest.Server, error) {
	dir, err := os.MkdirTemp("", "perch-fit-")
	if err != nil {
		return nil, err
	}
	return apitest.New(dir)
})

// used tells TestMain that there is a server to stop.
var used atomic.Bool

func TestMain(m *testing.M) {
	code := m.Run()
	if used.Load() {
		if s, err := server(); err == nil {
			if err := errors.Join(s.Stop(), os.RemoveAll(filepath.Dir(s.Kubeconfig))); err != nil {
				fmt.Fprintln(os.Stderr, "apitest:", err)
			}
		}
	}
	os.Exit(code)
}

// counting counts the requests that go through it, and refuses those to a path.
type counting struct {
	next    http.RoundTripper
	n       *atomic.Int64
	refused string
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	if c.refused != "" && strings.HasSuffix(r.URL.Path, c.refused) {
		status := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`
		return &http.Response{
			StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(status)), Request: r,
		}, nil
	}
	return c.next.RoundTrip(r)
}

// connect is a client of the administrator, or of a user who is let in by nothing but roles.
func connect(t *testing.T, user, refused string) (*kube.Client, *atomic.Int64) {
	t.Helper()
	used.Store(true)
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := kube.Load(kube.Options{Kubeconfig: s.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(admin.REST)
	if user != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	}
	n := &atomic.Int64{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next, n, refused} })
	c, err := kube.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

func namespace(t *testing.T, c *kube.Client, name string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := c.Interface.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// demanding is a project that asks for much.
func demanding(t *testing.T, ns string) Needs {
	t.Helper()
	d := web(podOf(func(p *corev1.PodSpec) {
		p.PriorityClassName = "urgent"
		p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	}))
	d.Namespace = ns
	n, err := Of(Wanted{
		Project: "shop", Namespace: ns, Objects: []runtime.Object{d, data(new("fast")), entry(new("nginx"), "web-tls"), balanced()},
		Platforms: map[string][]string{"web:1": {"linux/amd64"}}, Issuer: "letsencrypt",
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// whats are the findings in short.
func whats(found Findings) []string {
	var all []string
	for _, f := range found {
		all = append(all, string(f.Level)+" "+f.What)
	}
	return all
}

// TestLook asks a real API server, first one that has nothing, then one that has all.
func TestLook(t *testing.T) {
	t.Parallel()
	const ns = "look"
	c, asked := connect(t, "", "")
	namespace(t, c, ns)
	core := c.Interface.CoreV1()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "arm"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "arm64"}}}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Status: corev1.ResourceQuotaStatus{Hard: list("pods", "1"), Used: list("pods", "0")}}
	ranges := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypePersistentVolumeClaim, Max: list("storage", "1Gi")},
	}}}
	_, err1 := core.Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	made, err2 := core.ResourceQuotas(ns).Create(t.Context(), quota, metav1.CreateOptions{})
	_, err3 := core.LimitRanges(ns).Create(t.Context(), ranges, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	made.Status = quota.Status
	if _, err := core.ResourceQuotas(ns).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := demanding(t, ns)
	seen, err := Look(t.Context(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"missing Pod Security for deployment web: namespace look enforces restricted", "missing a node for image web:1", "missing ingress class nginx",
		"missing issuer letsencrypt", "missing kind Certificate of cert-manager.io/v1", "missing priority class urgent", "missing quota team: pods",
		"missing secret registry", "missing secret web-tls", "missing size of storage for persistentvolumeclaim data", "missing storage class fast",
		"unknown load balancer",
	}
	if diff := cmpdiff.Diff(want, whats(Judge(n, seen))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "example.com/disk"}
	ingress := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/ingress"}}
	priority := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "urgent"}, Value: 1}
	_, err1 = c.Interface.StorageV1().StorageClasses().Create(t.Context(), class, metav1.CreateOptions{})
	_, err2 = c.Interface.NetworkingV1().IngressClasses().Create(t.Context(), ingress, metav1.CreateOptions{})
	_, err3 = c.Interface.SchedulingV1().PriorityClasses().Create(t.Context(), priority, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"registry", "web-tls"} {
		if _, err := core.Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	asked.Store(0)
	begin := time.Now()
	err = Check(t.Context(), c, n, progress.Discard)
	t.Logf("%d requests in %s", asked.Load(), time.Since(begin))
	if fault.KindOf(err) != fault.Other || strings.Contains(err.Error(), "class") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

// TestLookWithLittle is an account that may do nothing, then one with just the Role, by either way of asking: what it may not
// look at is not known, and no failure.
func TestLookWithLittle(t *testing.T) {
	t.Parallel()
	admin, _ := connect(t, "", "")
	cases := []struct {
		ns, refused string
	}{
		{"little-rules", ""},
		{"little-reviews", "/selfsubjectrulesreviews"},
	}
	for _, k := range cases {
		t.Run(k.ns, func(t *testing.T) {
			namespace(t, admin, k.ns)
			c, asked := connect(t, "ann-"+k.ns, k.refused)
			n := demanding(t, k.ns)
			n.kinds, n.issuer = n.kinds[:1], ""
			seen, err := Look(t.Context(), c, n)
			if err != nil {
				t.Fatal(err)
			}
			lacking := Judge(n, seen).Of(Missing)
			if want := []string{"missing permission to do anything in namespace " + k.ns}; !slices.Equal(whats(lacking), want) {
				t.Errorf("%q", whats(lacking))
			}
			hint := lacking[0].Hint
			_, document, _ := strings.Cut(hint, "docs/permissions.md:\n")
			var role struct{ Items []map[string]any }
			if err := yaml.Unmarshal([]byte(document), &role); err != nil || len(role.Items) != 2 {
				t.Fatalf("%v in the hint\n%s", err, hint)
			}
			for _, o := range role.Items {
				if err := admin.Apply(t.Context(), []runtime.Object{&unstructured.Unstructured{Object: o}}); err != nil {
					t.Fatal(err)
				}
			}
			limited, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for len(seen.denied) > 0 { // the API server sees a new Role a moment later
				if seen, err = Look(limited, c, n); err != nil {
					t.Fatal(err)
				}
			}
			asked.Store(0)
			begin := time.Now()
			if seen, err = Look(t.Context(), c, n); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d requests in %s", asked.Load(), time.Since(begin))
			want := []string{
				"missing Pod Security for deployment web: namespace " + k.ns + " enforces restricted", "missing secret registry", "missing secret web-tls",
				"unknown architecture of the nodes", "unknown ingress class nginx", "unknown load balancer", "unknown storage class fast",
			}
			if diff := cmpdiff.Diff(want, whats(Judge(n, seen))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestNoNamespace is a namespace that is not there, for one who may make it and one who may not.
func TestNoNamespace(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]bool{"": true, "nobody": false} {
		c, _ := connect(t, user, "")
		n, err := Of(Wanted{Project: "shop", Namespace: "absent", Objects: []runtime.Object{web()}})
		if err != nil {
			t.Fatal(err)
		}
		err = Check(t.Context(), c, n, progress.Discard)
		if (err == nil) != want {
			t.Errorf("user %q: error %v", user, err)
		}
	}
}

// TestUnreachable is a cluster that does not answer.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	c, err := kube.New(&rest.Config{Host: "https://127.0.0.1:1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := Of(Wanted{Project: "shop", Namespace: "shop", Objects: []runtime.Object{web()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), c, n, progress.Discard); fault.KindOf(err) != fault.Unreachable {
		t.Errorf("error %v", err)
	}
}
