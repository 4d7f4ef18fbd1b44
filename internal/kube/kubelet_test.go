package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// node is as much of a kubelet as logs and exec need: an HTTPS server that the API server asks. Logs are what the test
// wrote; a command is executed on this machine.
type node struct {
	name string

	mu     sync.Mutex
	logs   map[string]*logFile // by NAMESPACE/POD/CONTAINER
	breaks int                 // how many followed streams are still to be broken after their first line
}

// logFile is the log of the current instance of a container.
type logFile struct {
	lines   []string // with time stamps
	ended   bool
	changed chan struct{} // closed at each change
}

// startNode registers a node with the API server and serves its containers.
func startNode(t *testing.T, c *Client, name string) *node {
	t.Helper()
	n := &node{name: name, logs: map[string]*logFile{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.serveLog)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", n.serveExec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", n.servePort)
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{serving(t)}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(at.Port(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.Interface.CoreV1().Nodes()
	live, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	live.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Hostname()}}
	live.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	if _, err := nodes.UpdateStatus(t.Context(), live, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return n
}

// serving is a certificate for 127.0.0.1 from the cluster's authority, which the API server asks of kubelets.
func serving(t *testing.T) tls.Certificate {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	files := pki.Files(filepath.Join(filepath.Dir(s.Kubeconfig), "pki"))
	authority, err := tls.LoadX509KeyPair(files.Cert(pki.CA), files.Key(pki.CA))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// print adds lines to a container's log.
func (n *node) print(pod *corev1.Pod, lines ...string) {
	n.change(pod, func(f *logFile) {
		for _, l := range lines {
			f.lines = append(f.lines, time.Now().UTC().Format(time.RFC3339Nano)+" "+l)
		}
	})
}

// end closes a container's log.
func (n *node) end(pod *corev1.Pod) { n.change(pod, func(f *logFile) { f.ended = true }) }

// restart begins the log of the container's next instance.
func (n *node) restart(pod *corev1.Pod) {
	n.end(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.logs, key(pod))
}

func key(pod *corev1.Pod) string {
	return pod.Namespace + "/" + pod.Name + "/" + pod.Spec.Containers[0].Name
}

func (n *node) change(pod *corev1.Pod, act func(*logFile)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file(key(pod))
	act(f)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (n *node) file(key string) *logFile {
	if n.logs[key] == nil {
		n.logs[key] = &logFile{changed: make(chan struct{})}
	}
	return n.logs[key]
}

func (n *node) serveLog(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	f := n.file(r.PathValue("namespace") + "/" + r.PathValue("pod") + "/" + r.PathValue("container"))
	n.mu.Unlock()
	q := r.URL.Query()
	sent := 0
	for first := true; ; first = false {
		n.mu.Lock()
		lines, ended, changed := f.lines, f.ended, f.changed
		breaks := q.Get("follow") == "true" && n.breaks > 0 && len(lines) > 0
		if breaks {
			n.breaks--
		}
		n.mu.Unlock()
		if tail, err := strconv.Atoi(q.Get("tailLines")); err == nil && first {
			sent = max(0, len(lines)-tail)
		}
		for ; sent < len(lines); sent++ {
			stamp, text, _ := strings.Cut(lines[sent], " ")
			// The kubelet's since is in whole seconds, so that lines come twice.
			if since := q.Get("sinceTime"); since != "" && stamp[:19] < since[:19] {
				continue
			}
			if q.Get("timestamps") != "true" {
				stamp = ""
			}
			fmt.Fprintln(w, strings.TrimSpace(stamp+" "+text))
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		if ended || breaks || q.Get("follow") != "true" {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (n *node) serveExec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{}, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"],
		options, time.Minute, time.Minute, remotecommand.SupportedStreamingProtocols)
}

// executor executes on this machine. With a terminal it prints the first size that it is told before it does.
type executor struct{}

func (executor) ExecInContainer(
	ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	if tty {
		size := <-resize
		fmt.Fprintf(out, "%dx%d\n", size.Width, size.Height)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = in
	cmd.Stdout = out
	if errs != nil {
		cmd.Stderr = errs
	}
	err := cmd.Run()
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // what Run returns, unwrapped
		return utilexec.CodeExitError{Err: err, Code: e.ExitCode()}
	}
	return err
}
