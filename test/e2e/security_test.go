package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestSecurity looks at the node from where somebody might want to break out or in: from a pod, with a pod's token, with the
// kubelet's credentials, without any, and as another user of the machine.
func TestSecurity(t *testing.T) {
	u := newUser(t, "x")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36", "python:3.11")
	n.namespace(t, "yard", nil)
	n.pod(t, "yard", "inmate", sleeper)
	t.Run("Pod", func(t *testing.T) { testPodIsConfined(t, n) })
	t.Run("Host", func(t *testing.T) { testHostIsNotReached(t, n) })
	t.Run("Ports", func(t *testing.T) { testNodePorts(t, n) })
	t.Run("Spoofing", func(t *testing.T) { testSpoofing(t, n) })
	t.Run("SpoofingIPv6", func(t *testing.T) { testSpoofingIPv6(t, n) })
	t.Run("Anonymous", func(t *testing.T) { testAnonymous(t, n) })
	t.Run("Tokens", func(t *testing.T) { testTokens(t, n) })
	t.Run("Kubelet", func(t *testing.T) { testKubeletsRights(t, n) })
	t.Run("Levels", func(t *testing.T) { testLevels(t, n) })
	t.Run("AtRest", func(t *testing.T) { testAtRest(t, n) })
	t.Run("OtherUsers", func(t *testing.T) { testOtherUsers(t, n) })
	t.Run("Processes", func(t *testing.T) { testProcesses(t, n) })
}

// testPodIsConfined looks at a pod whose specification says nothing of security.
func testPodIsConfined(t *testing.T, n *node) {
	status, err := n.run(t.Context(), "yard", "inmate", "cat", "/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(status, "Seccomp:\t2\n") {
		t.Errorf("it has no seccomp filter:\n%s", status)
	}
	for _, file := range []string{"/proc/kcore", "/proc/sysrq-trigger", "/proc/keys"} {
		if out, err := n.run(t.Context(), "yard", "inmate", "sh", "-c", "head -c 1 "+file+" 2>/dev/null | wc -c"); err == nil && strings.TrimSpace(out) != "0" {
			t.Errorf("%s can be read", file)
		}
	}
	if _, err := n.run(t.Context(), "yard", "inmate", "sh", "-c", "echo 1 >/proc/sys/kernel/panic"); err == nil {
		t.Error("it writes kernel settings")
	}
	if _, err := n.run(t.Context(), "yard", "inmate", "sh", "-c", "mount -t tmpfs none /mnt"); err == nil {
		t.Error("it mounts")
	}
}

// addresses are those that a pod may try to find the host or the node at: its gateway, which is the host's end of its cable,
// the two ends of the cable between node and host, and whatever else the host has.
func (n *node) addresses(t *testing.T) []string {
	t.Helper()
	nodes, err := n.api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("nodes: %v", err)
	}
	gateway, err := n.run(t.Context(), "yard", "inmate", "sh", "-c", "ip route | sed -n 's/^default via \\([0-9.]*\\) .*/\\1/p'")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"127.0.0.1", strings.TrimSpace(gateway), n.nodeIP(t)}
	host, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range host {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			all = append(all, ip.String())
		}
	}
	if second := n.nodeIPv6(t); second != "" {
		gateway, err := n.run(t.Context(), "yard", "inmate", "sh", "-c", "ip -6 route | sed -n 's/.* via \\([0-9a-f:]*\\) .*/\\1/p' | sort -u")
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, "::1", second), strings.Fields(gateway)...)
	}
	return all
}

func (n *node) nodeIP(t *testing.T) string {
	t.Helper()
	node, err := n.api.CoreV1().Nodes().Get(t.Context(), n.cluster, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	t.Fatal("the node has no address")
	return ""
}

// testHostIsNotReached listens on the host's loopback addresses and wants no pod to get there.
func testHostIsNotReached(t *testing.T, n *node) {
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		if c, err := net.ListenPacket("udp", net.JoinHostPort(loopback, "0")); err != nil {
			continue // a machine without IPv6
		} else if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(listenOn(t, loopback))
		for _, address := range n.addresses(t) {
			if err := n.reaches(t.Context(), "yard", "inmate", net.JoinHostPort(address, port)); err == nil {
				t.Errorf("a pod reaches the host's %s at %s", loopback, address)
			}
		}
	}
	t.Run("though a pod reaches the host where it listens for all", func(t *testing.T) { // or the rest would prove little
		eventually(t, 5*time.Second, "the host answers", func(ctx context.Context) error { return n.reaches(ctx, "yard", "inmate", n.outside(t)) })
	})
}

// listeners are the addresses and ports that something in the node's network namespace listens on, but for its loopback.
func (n *node) listeners(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/" + n.part(t, "kubernetes").pid + "/net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" && !(strings.HasPrefix(table, "udp") && strings.HasSuffix(f[2], ":0000")) {
				continue
			}
			host, hex, _ := strings.Cut(f[1], ":")
			var port int
			if _, err := fmt.Sscanf(hex, "%X", &port); err != nil || host == "0100007F" { // 127.0.0.1, in the machine's byte order
				continue
			}
			all = append(all, fmt.Sprintf("%s %d", table, port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// testNodePorts wants nothing to listen for pods but what they need, and that to ask who they are.
func testNodePorts(t *testing.T, n *node) {
	// The kubelet, the metrics API (for the API server alone, by its certificate), names, the API server, names.
	want := []string{"tcp 10250", "tcp 10270", "tcp 53", "tcp 6443", "udp 53"}
	if diff := cmp.Diff(want, n.listeners(t)); diff != "" {
		t.Errorf("what listens in the node, -want +got:\n%s", diff)
	}
	// By name too, since a port may be bound to one address and be reached at another.
	closed := map[string]string{
		"etcd": "2379", "etcd's peers": "2380", "kubelet, read-only": "10255", "kubelet, health": "10248", "kube-proxy, metrics": "10249",
		"kube-proxy, health": "10256", "controller-manager": "10257", "scheduler": "10259", "CoreDNS, metrics": "9153", "CoreDNS, health": "8080", "CoreDNS, ready": "8181",
		"containerd, metrics": "1338", "BuildKit": "1234",
	}
	for name, port := range closed {
		for _, address := range slices.DeleteFunc([]string{n.nodeIP(t), n.addresses(t)[1], n.nodeIPv6(t)}, func(a string) bool { return a == "" }) {
			if err := n.reaches(t.Context(), "yard", "inmate", net.JoinHostPort(address, port)); err == nil {
				t.Errorf("%s answers a pod at %s:%s", name, address, port)
			}
		}
	}
	t.Run("but pods reach the API server and names", func(t *testing.T) {
		if err := n.reaches(t.Context(), "yard", "inmate", n.clusterIP(t, "default", "kubernetes")+":443"); err != nil {
			t.Error(err)
		}
		if _, err := n.run(t.Context(), "yard", "inmate", "timeout", "5", "nslookup", "-type=a", "kubernetes.default.svc.cluster.local"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a pod on the node's network finds no more", func(t *testing.T) {
		n.pod(t, "yard", "guard", "{hostNetwork: true, containers: [{command: [sleep, '3600']}]}")
		for name, port := range closed {
			if err := n.reaches(t.Context(), "yard", "guard", "127.0.0.1:"+port); err == nil {
				t.Errorf("%s answers at 127.0.0.1:%s", name, port)
			}
		}
	})
}

// testSpoofing sends packets from a pod in the name of others.
func testSpoofing(t *testing.T, n *node) {
	target := n.pod(t, "yard", "target", `{containers: [{image: "python:3.11", command: [python, -uc, "`+
		`import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 9999))\nwhile True: print(*s.recvfrom(100))"]}]}`)
	own := n.pod(t, "yard", "liar", `{containers: [{image: "python:3.11", command: [sleep, "3600"]}]}`)
	inmate, err := n.api.CoreV1().Pods("yard").Get(t.Context(), "inmate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	script := `
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source in sys.argv[2:]:
    data = ('from ' + source).encode()
    udp = struct.pack('!HHHH', 9999, 9999, 8 + len(data), 0) + data
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(sys.argv[1]))
    raw.sendto(ip + udp, (sys.argv[1], 0))
`
	// The last is its own address, and tells that the others would have come by now.
	if _, err := n.run(t.Context(), "yard", "liar", "python", "-c", script, target, inmate.Status.PodIP, n.nodeIP(t), "192.0.2.77", own); err != nil {
		t.Fatal(err)
	}
	if log := n.logOf(t, "yard", "target", "from "+own); strings.Count(log, "from") != 1 {
		t.Errorf("packets in the name of others came through:\n%s", log)
	}
}

// testSpoofingIPv6 does the same by IPv6.
func testSpoofingIPv6(t *testing.T, n *node) {
	node := n.nodeIPv6(t)
	if node == "" {
		t.Skip("this machine has no IPv6")
	}
	n.pod(t, "yard", "target6", `{containers: [{image: "python:3.11", command: [python, -uc, "`+
		`import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 9999))\nwhile True: print(*s.recvfrom(100))"]}]}`)
	n.pod(t, "yard", "liar6", `{containers: [{image: "python:3.11", command: [sleep, "3600"]}]}`)
	second := func(pod string) string {
		t.Helper()
		p, err := n.api.CoreV1().Pods("yard").Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil || len(p.Status.PodIPs) != 2 {
			t.Fatalf("%+v, %v", p.Status.PodIPs, err)
		}
		return p.Status.PodIPs[1].IP
	}
	script := `
import socket, struct, sys
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
to = socket.inet_pton(socket.AF_INET6, sys.argv[1])
for source in sys.argv[2:]:
    data, origin = ('from ' + source).encode(), socket.inet_pton(socket.AF_INET6, source)
    data += b' ' * (len(data) % 2)
    udp = lambda sum: struct.pack('!HHHH', 9999, 9999, 8 + len(data), sum) + data
    words = origin + to + struct.pack('!II', 8 + len(data), 17) + udp(0)
    total = sum(struct.unpack('!%dH' % (len(words) // 2), words))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    packet = struct.pack('!IHBB16s16s', 6 << 28, 8 + len(data), 17, 64, origin, to) + udp(~total & 0xffff)
    raw.sendto(packet, (sys.argv[1], 0))
`
	own := second("liar6")
	if _, err := n.run(t.Context(), "yard", "liar6", "python", "-c", script, second("target6"), second("inmate"), node, "2001:db8::77", own); err != nil {
		t.Fatal(err)
	}
	if log := n.logOf(t, "yard", "target6", "from "+own); strings.Count(log, "from") != 1 {
		t.Errorf("packets in the name of others came through:\n%s", log)
	}
}

// testAnonymous asks the API server and the kubelet without saying who asks.
func testAnonymous(t *testing.T, n *node) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it is the answer that counts
	status := func(url string) int {
		t.Helper()
		r, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r.StatusCode
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/version"} {
		if got := status(n.config.Host + path); got != http.StatusOK {
			t.Errorf("%s: %d", path, got)
		}
	}
	for _, path := range []string{
		"/", "/api", "/apis", "/api/v1/namespaces", "/api/v1/secrets", "/api/v1/nodes", "/metrics", "/openapi/v2", "/logs", "/debug/pprof/", "/configz",
		"/.well-known/openid-configuration", "/openid/v1/jwks", "/api/v1/nodes/" + n.cluster + "/proxy/pods",
	} {
		if got := status(n.config.Host + path); got != http.StatusUnauthorized && got != http.StatusForbidden {
			t.Errorf("%s: %d", path, got)
		}
	}
	kubelet := "https://" + net.JoinHostPort(n.nodeIP(t), "10250")
	for _, path := range []string{"/pods", "/healthz", "/metrics", "/configz", "/run/yard/inmate/main", "/containerLogs/yard/inmate/main", "/debug/pprof/"} {
		if got := status(kubelet + path); got != http.StatusUnauthorized {
			t.Errorf("the kubelet's %s: %d", path, got)
		}
	}
}

// testTokens uses the token that a pod has by default.
func testTokens(t *testing.T, n *node) {
	token, err := n.run(t.Context(), "yard", "inmate", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(n.config)
	config.BearerToken = token
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, all := t.Context(), metav1.ListOptions{}
	if _, err := api.Discovery().ServerVersion(); err != nil {
		t.Errorf("the token is none: %v", err)
	}
	for name, try := range map[string]func() error{
		"Secrets":        func() error { _, err := api.CoreV1().Secrets("yard").List(ctx, all); return err },
		"Secrets of all": func() error { _, err := api.CoreV1().Secrets("").List(ctx, all); return err },
		"ConfigMaps":     func() error { _, err := api.CoreV1().ConfigMaps("yard").List(ctx, all); return err },
		"Pods":           func() error { _, err := api.CoreV1().Pods("yard").List(ctx, all); return err },
		"Nodes":          func() error { _, err := api.CoreV1().Nodes().List(ctx, all); return err },
		"a pod of its own": func() error {
			_, err := api.CoreV1().Pods("yard").Create(ctx, &corev1.Pod{}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(n.nodeIP(t), "10250")+"/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it is the answer that counts
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("the kubelet answers it with %d", response.StatusCode)
	}
}

// testKubeletsRights uses the kubelet's certificate: who takes over the kubelet must not have all of the cluster.
func testKubeletsRights(t *testing.T, n *node) {
	pki := filepath.Join(n.folder(), "kubernetes", "pki")
	config := rest.AnonymousClientConfig(n.config)
	config.CertFile, config.KeyFile = filepath.Join(pki, "kubelet.crt"), filepath.Join(pki, "kubelet.key")
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, name := range []string{"unused", "used"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"word": "of " + name}}
		if _, err := n.api.CoreV1().Secrets("yard").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	n.pod(t, "yard", "reader", "{containers: [{command: [sleep, '3600'], envFrom: [{secretRef: {name: used}}]}]}")
	if _, err := api.CoreV1().Secrets("yard").Get(ctx, "used", metav1.GetOptions{}); err != nil {
		t.Errorf("a Secret of one of its pods: %v", err)
	}
	if _, err := api.CoreV1().Secrets("yard").Get(ctx, "unused", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a Secret that none of its pods uses: %v", err)
	}
	if _, err := api.CoreV1().Secrets("yard").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("all Secrets: %v", err)
	}
	other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if _, err := n.api.CoreV1().Nodes().Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.api.CoreV1().Nodes().Delete(ctx, "other", metav1.DeleteOptions{}) }()
	testOtherNode(t, n, api)
	label := func(node, key string) error {
		patch := []byte(`{"metadata":{"labels":{"` + key + `":"yes"}}}`)
		_, err := api.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	if err := label("other", "example.com/mine"); !apierrors.IsForbidden(err) {
		t.Errorf("a label of another node: %v", err)
	}
	if err := label(n.cluster, "node-restriction.kubernetes.io/trusted"); !apierrors.IsForbidden(err) {
		t.Errorf("a label of its own that is not for it to set: %v", err)
	}
	privileged := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "made", Namespace: "yard"}, Spec: corev1.PodSpec{NodeName: n.cluster, Containers: []corev1.Container{{Name: "a", Image: "busybox:1.36"}}}}
	if _, err := api.CoreV1().Pods("yard").Create(ctx, privileged, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that is no mirror: %v", err)
	}
}

// testOtherNode uses the kubelet's certificate for what belongs to the pods of the node "other".
func testOtherNode(t *testing.T, n *node, api kubernetes.Interface) {
	t.Helper()
	ctx := t.Context()
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, StringData: map[string]string{"word": "of theirs"}}
	if _, err := n.api.CoreV1().Secrets("yard").Create(ctx, theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	from := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "theirs"}}}}
	pod, err := n.api.CoreV1().Pods("yard").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}, Spec: corev1.PodSpec{
		NodeName: "other", Containers: []corev1.Container{{Name: "a", Image: "busybox:1.36", EnvFrom: from}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = n.api.CoreV1().Pods("yard").Delete(ctx, "elsewhere", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	}()
	bound := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	for what, try := range map[string]func() error{
		"a Secret of its pods": func() error {
			_, err := api.CoreV1().Secrets("yard").Get(ctx, "theirs", metav1.GetOptions{})
			return err
		},
		"a token of its pods": func() error {
			_, err := api.CoreV1().ServiceAccounts("yard").CreateToken(ctx, "default", bound, metav1.CreateOptions{})
			return err
		},
		"a pod's end": func() error { return api.CoreV1().Pods("yard").Delete(ctx, pod.Name, metav1.DeleteOptions{}) },
		"a pod's status": func() error {
			_, err := api.CoreV1().Pods("yard").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
			return err
		},
		"its lease": func() error {
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
			_, err := api.CoordinationV1().Leases("kube-node-lease").Create(ctx, lease, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("of another node, %s: %v", what, err)
		}
	}
}

// testProcesses looks at the node's processes as another user of the machine: what they were started with is for all to read, so
// it holds no key; what they have in memory, in their environment and open is not. No socket of theirs is without a file, whose
// rights would keep others off.
func testProcesses(t *testing.T, n *node) {
	var keys []string
	for _, file := range []string{"ca.key", "admin.key", "service-account.key", "encryption.yaml"} {
		data, err := os.ReadFile(filepath.Join(n.folder(), "kubernetes", "pki", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "secret:")); len(line) > 40 && !strings.Contains(line, " ") {
				keys = append(keys, line)
			}
		}
	}
	if len(keys) < 4 {
		t.Fatalf("%d lines of keys are known: too few to look for", len(keys))
	}
	var names []string
	for _, p := range n.user.inside() {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(strings.Join(p.args, " "), key) }) {
			t.Errorf("a key is among the arguments of process %s", p.pid)
		}
		if p.is("kubernetes") || p.is("containerd") || p.is("init") || p.supervisesOf(n.user) {
			for _, file := range []string{"environ", "mem", "maps", "root/etc", "cwd/.", "fd/0"} {
				names = append(names, filepath.Join("/proc", p.pid, file))
			}
		}
	}
	if len(names) < 4*6 {
		t.Fatalf("only %v are looked at", names)
	}
	look := exec.CommandContext(t.Context(), "sh", "-c", `for f; do if [ -r "$f" ] && head -c 1 "$f" >/dev/null 2>&1 || ls "$f/" >/dev/null 2>&1; then echo "$f"; fi; done`, "sh")
	look.Args, look.Dir = append(look.Args, names...), "/"
	look.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := look.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("another user reads (%v):\n%s", err, out)
	}
	sockets, err := os.ReadFile("/proc/" + n.part(t, "kubernetes").pid + "/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		if f := strings.Fields(line); len(f) > 7 && strings.HasPrefix(f[7], "@") {
			t.Errorf("a socket without a file, in reach of pods on the node's network: %s", f[7])
		}
	}
}

// testAtRest looks for a Secret's word in the files of the store.
func testAtRest(t *testing.T, n *node) {
	const secretWord, openWord = "correct-horse-battery-staple", "open-to-everybody"
	ctx := t.Context()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "at-rest"}, StringData: map[string]string{"word": secretWord}}
	if _, err := n.api.CoreV1().Secrets("yard").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "at-rest"}, Data: map[string]string{"word": openWord}}
	if _, err := n.api.CoreV1().ConfigMaps("yard").Create(ctx, config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(n.folder(), "kubernetes", "etcd")
	if len(filesWith(t, store, openWord)) == 0 {
		t.Error("not even a ConfigMap is found there, so this proves nothing")
	}
	if found := filesWith(t, n.folder(), secretWord); len(found) > 0 {
		t.Errorf("the Secret is in %v", found)
	}
	for _, file := range []string{"encryption.yaml", "ca.key", "service-account.key", "admin.key"} {
		info, err := os.Stat(filepath.Join(n.folder(), "kubernetes", "pki", file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}

// testOtherUsers looks at the node's files as a user of the machine who has nothing to do with it, and who knows every name.
func testOtherUsers(t *testing.T, n *node) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	var names []string
	err := filepath.WalkDir(n.folder(), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it was temporary
			return nil
		}
		if err == nil && d.Type()&fs.ModeSymlink == 0 && path != n.folder() {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) < 50 {
		t.Fatalf("%d files: %v", len(names), err)
	}
	look := exec.CommandContext(t.Context(), "sh", "-c", `while read -r f; do if [ -r "$f" ] || [ -w "$f" ]; then echo "$f"; fi; done`)
	look.Stdin, look.Dir = strings.NewReader(strings.Join(names, "\n")+"\n"), "/"
	look.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
	out, err := look.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(out) > 0 {
		t.Errorf("another user may read or write:\n%s", out)
	}
	t.Run("nor with the user's own kubeconfig", func(t *testing.T) {
		n.program = n.reachableProgram(t)
		r := n.exec(t.Context(), command{args: []string{"kubectl", "--context", n.context(), "get", "secrets", "-A"}, as: nobody})
		if r.code == 0 {
			t.Errorf("another user gets through: %s", r)
		}
	})
}
