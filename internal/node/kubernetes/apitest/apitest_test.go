package apitest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

func clientOf(t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func start(t *testing.T, dir string) *apitest.Server {
	t.Helper()
	s, err := apitest.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored is what the store itself holds for a key.
func stored(t *testing.T, s *apitest.Server, key string) []byte {
	t.Helper()
	store, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + s.EtcdSocket}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	got, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 {
		t.Fatalf("%s: %d values", key, len(got.Kvs))
	}
	return got.Kvs[0].Value
}

// One server at a time, so the tests of this package are one test.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	client := clientOf(t, first.Kubeconfig)
	const word = "correct-horse-battery"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"password": word}}
	if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Run("secrets are encrypted at rest", func(t *testing.T) {
		raw := stored(t, first, "/registry/secrets/default/s")
		if !bytes.HasPrefix(raw, []byte("k8s:enc:secretbox:")) || bytes.Contains(raw, []byte(word)) {
			t.Errorf("stored as %q", raw)
		}
	})
	t.Run("the default objects are there", func(t *testing.T) { defaults(t, client) })
	t.Run("it is the embedded Kubernetes", func(t *testing.T) {
		if _, err := client.Discovery().ServerVersion(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a container's stop signal is kept", func(t *testing.T) { stopSignal(t, client) })
	t.Run("a token outlives a clock that is set back", func(t *testing.T) { earlyToken(t, client) })
	t.Run("a certificate that was renewed is served", func(t *testing.T) { renewed(t, dir, first.Kubeconfig) })
	role, err := client.RbacV1().ClusterRoles().Get(t.Context(), "system:node-proxier", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = nil
	if _, err := client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, dir)
	t.Cleanup(func() {
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
	})
	client = clientOf(t, second.Kubeconfig)
	t.Run("objects survive a restart", func(t *testing.T) {
		got, err := client.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{})
		if err != nil || string(got.Data["password"]) != word {
			t.Errorf("secret after a restart: %v, %v", got.Data, err)
		}
	})
	t.Run("a default role that lost a right has it again", func(t *testing.T) {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), "system:node-proxier", metav1.GetOptions{})
		if err != nil || len(role.Rules) == 0 {
			t.Errorf("role %v: %v", role, err)
		}
	})
}

// earlyToken looks into a token: it is valid from long before it was made, until when it was asked for.
func earlyToken(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "early"}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const seconds = 3600
	made := time.Now()
	got, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(seconds))},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review, err := client.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: got.Status.Token},
	}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated {
		t.Errorf("it is refused: %v, %v", review.Status, err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(got.Status.Token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Nbf, Iat, Exp int64 }
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if month := made.AddDate(0, -1, 0).Unix(); claims.Nbf > month || claims.Iat > month {
		t.Errorf("it begins when it was made: %s", payload)
	}
	if life := claims.Exp - made.Unix(); life < seconds-1 || life > seconds+60 {
		t.Errorf("it lives for %d s: %s", life, payload)
	}
}

// renewed issues new certificates under a server that runs, as the node does before the old ones end.
func renewed(t *testing.T, dir, kubeconfig string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	served := func() *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(config.Host, "https://"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only looked at
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0]
	}
	before := served()
	// For another name, which leads to a new one as the time does.
	r := pki.Request{NodeName: "test", NodeIP: net.IPv4(192, 0, 2, 1), Server: config.Host, Now: time.Now(), ServerDNS: []string{"another.example"}}
	if _, err := pki.Ensure(filepath.Join(dir, "pki"), r); err != nil {
		t.Fatal(err)
	}
	for before.Equal(served()) {
		if t.Context().Err() != nil {
			t.Fatal("the old one is served")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// defaults looks for what the API server's own hooks would have written.
func defaults(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	roles, err := client.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/bootstrapping=rbac-defaults"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range roles.Items {
		names = append(names, r.Name)
	}
	for _, want := range []string{"cluster-admin", "admin", "edit", "view", "system:node", "system:controller:job-controller"} {
		if !slices.Contains(names, want) {
			t.Errorf("no cluster role %s", want)
		}
	}
	bindings, err := client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(bindings.Items) < 40 {
		t.Errorf("%d cluster role bindings: %v", len(bindings.Items), err)
	}
	if _, err := client.RbacV1().RoleBindings("kube-public").Get(t.Context(), "system:controller:bootstrap-signer", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := client.SchedulingV1().PriorityClasses().Get(t.Context(), "system-node-critical", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// stopSignal is a field behind a feature gate: with the gate off it is dropped in silence.
func stopSignal(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	d := &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: "stops"}, Template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{OS: &corev1.PodOS{Name: corev1.Linux}, Containers: []corev1.Container{{
			Name: "one", Image: "one", Lifecycle: &corev1.Lifecycle{StopSignal: new(corev1.SIGQUIT)},
		}}},
	}}
	got, err := client.CoreV1().PodTemplates("default").Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if l := got.Template.Spec.Containers[0].Lifecycle; l == nil || l.StopSignal == nil || *l.StopSignal != corev1.SIGQUIT {
		t.Errorf("life cycle %v", l)
	}
}
