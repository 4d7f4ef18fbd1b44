package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	farContext   = "far"      // of the laptop's kubeconfig
	farNamespace = "shop"     // the one that the laptop's account may do something in
	farAccount   = "deployer" // that account
)

// world is a laptop, a cluster far away that nobody there but its administrator knows as Perch's, and a registry between.
type world struct {
	laptop   *user
	far      *node // as its administrator sees it
	space    *space
	registry *farRegistry
	ca       authority
	api      *gate // the laptop's way to the far cluster's API
}

// newWorld starts all of it. The far cluster is reached from the laptop by its API, through a gate, and by nothing else.
func newWorld(t *testing.T) *world {
	t.Helper()
	root := requirements(t)
	tool(t, root, "registry")
	tool(t, root, "ingress")
	w := &world{space: newSpace(t), ca: newAuthority(t)}
	owner := newUser(t, "r")
	owner.in = w.space
	trust := "SSL_CERT_FILE=" + w.ca.bundle(t, owner.dir)
	owner.env = append(owner.env, trust)
	w.laptop = newUser(t, "l")
	w.laptop.env = append(w.laptop.env, trust)
	w.registry = startRegistry(t, root, owner.dir, w.wire(t), w.space, w.ca)
	w.laptop.logIn(t, map[string]string{w.registry.host: registryPassword})

	starts := []*process{owner.start(t, command{args: []string{"cluster", "start"}}), w.laptop.start(t, command{args: []string{"cluster", "start"}})}
	for _, start := range starts {
		if r := start.endWithin(t, limit); r.code != 0 {
			t.Fatal(r)
		}
	}
	w.far = owner.connect(t)
	server := strings.TrimPrefix(w.far.config.Host, "https://")
	w.api = newGate(t, "127.0.0.1:0", func(ctx context.Context, address string) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	}, func(ctx context.Context) (net.Conn, error) { return w.space.Dial(ctx, "tcp", server) })
	w.giveAccess(t)
	return w
}

// wire lays one between this machine and the network outside of the far cluster, and returns the far end's address. It is of
// the range for tests of networks (RFC 2544), its name one that tests of other clusters let pass, and it ends with that network.
func (w *world) wire(t *testing.T) string {
	t.Helper()
	block := rand.IntN(1 << 14)
	address := func(last int) string { return fmt.Sprintf("198.18.%d.%d", block>>6, block&63<<2+last) }
	link := fmt.Sprintf("perch-wire%04x", block)
	(*space)(nil).shell(t, fmt.Sprintf(`
		ip link add %[1]s type veth peer name far netns %[2]d
		ip address add %[3]s/30 dev %[1]s; ip link set %[1]s up
		nsenter -t %[2]d -n sh -ec 'ip address add %[4]s/30 dev far; ip link set far up'
	`, link, w.space.outsidePID, address(1), address(2)))
	return address(2)
}

// allow does what docs/permissions.md tells an administrator to do once: the one namespace, and an account that may deploy there.
func (w *world) allow(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(w.laptop.root, "docs", "permissions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	role, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("docs/permissions.md has no YAML")
	}
	w.far.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(role)})
}

// giveAccess gives the laptop a kubeconfig for that account.
func (w *world) giveAccess(t *testing.T) {
	t.Helper()
	w.allow(t)
	token, err := w.far.api.CoreV1().ServiceAccounts(farNamespace).CreateToken(t.Context(), farAccount, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.kubeconfig(t, func(c *api.Config) {
		c.Clusters[farContext] = &api.Cluster{Server: "https://" + w.api.address, CertificateAuthorityData: w.far.config.CAData}
		c.AuthInfos[farContext] = &api.AuthInfo{Token: token.Status.Token}
		c.Contexts[farContext] = &api.Context{Cluster: farContext, AuthInfo: farContext}
	})
}

// kubeconfig changes the laptop's.
func (w *world) kubeconfig(t *testing.T, change func(c *api.Config)) {
	t.Helper()
	c, err := clientcmd.LoadFromFile(w.laptop.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	if err := clientcmd.WriteToFile(*c, w.laptop.kubeconfig); err != nil {
		t.Fatal(err)
	}
}

const ingressClass = "far-ingress"

const ingressObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: ingress}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ingress, namespace: ingress}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: ingress}
rules:
- {apiGroups: [""], resources: [services, secrets, nodes], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ingress}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress}
subjects: [{kind: ServiceAccount, name: ingress, namespace: ingress}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: far-ingress}
spec: {controller: traefik.io/ingress-controller}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: ingress}
spec:
  selector: {matchLabels: {app: ingress}}
  template:
    metadata: {labels: {app: ingress}}
    spec:
      serviceAccountName: ingress
      containers:
      - name: ingress
        image: localhost/far/ingress:1
        args: [-class=far-ingress, -service=ingress/ingress]
        securityContext: {runAsUser: 65532, runAsNonRoot: true, readOnlyRootFilesystem: true}
        ports: [{containerPort: 8080}, {containerPort: 8443}]
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: ingress}
spec:
  type: LoadBalancer
  selector: {app: ingress}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]
`

// installIngress does what the far cluster's administrator has done long ago: an ingress controller, with a class of its own.
func (w *world) installIngress(t *testing.T) {
	t.Helper()
	archive := filepath.Join(w.far.dir, "ingress.tar")
	writeProgramImage(t, archive, "localhost/far/ingress:1", tool(t, w.far.root, "ingress"))
	w.far.perch(t, "", "image", "load", archive)
	w.far.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(ingressObjects)})
	w.far.perch(t, "", "kubectl", "-n", "ingress", "rollout", "status", "deployment/ingress", "--timeout=60s")
}

// writeProgramImage makes an image of one static program.
func writeProgramImage(t *testing.T, archive, image, program string) {
	t.Helper()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	for _, err := range []error{
		files.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(content))}),
		second(files.Write(content)), files.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	platform := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Entrypoint: []string{"/program"}}}
	img, err := mutate.ConfigFile(empty.Image, platform)
	if err == nil {
		img, err = mutate.AppendLayers(img, l)
	}
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(image)
	if err == nil {
		err = tarball.WriteToFile(archive, tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func second[A any](_ A, err error) error { return err }

func clientTLS(trusted *x509.CertPool, server string) *tls.Config {
	return &tls.Config{RootCAs: trusted, ServerName: server}
}

// browse asks the far cluster's ingress for a URL as a browser would whose DNS leads there.
func (w *world) browse(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := w.client(request.URL.Hostname()).Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, essence(string(body)))
	}
	return string(body), err
}

// client is a browser of the world, whose name server knows nothing but where the ingress is.
func (w *world) client(host string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: clientTLS(w.ca.trusting(), host),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return w.space.Dial(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}}
}
