package kubernetes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// node is the last component: it does nothing, and is ready when the whole of Kubernetes is of use.
type node struct {
	config Config
	files  pki.Files

	client   clientset.Interface
	rest     rest.Interface
	started  time.Time
	patience time.Duration // for an answer of DNS
}

// Name is "kubernetes", under which the readiness of everything is reported.
func (*node) Name() string { return wholeName }

// Init makes the client.
func (n *node) Init(context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", n.files.Kubeconfig(pki.Admin))
	if err != nil {
		return err
	}
	n.started = time.Now()
	config.QPS, config.Burst, config.Timeout = -1, 0, 5*time.Second
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	n.client, n.rest = client, client.Discovery().RESTClient()
	return nil
}

// Run waits.
func (n *node) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready waits until a pod could be made and would find its way: the node is ready and takes pods, the default service
// account is there, cluster names are answered at the DNS Service's address, and the API server calls itself ready.
func (n *node) Ready(ctx context.Context) error {
	// In this order since the first is the last to come true (the kubernetes Service is made when the API server calls
	// itself ready), and the cheapest to ask for.
	for _, check := range []func(context.Context) error{n.dns, n.readyz, n.nodeReady, n.serviceAccount} {
		if err := poll(ctx, 20*time.Millisecond, check); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) nodeReady(ctx context.Context) error {
	node, err := n.client.CoreV1().Nodes().Get(ctx, n.config.NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		// After a restart the old status stands until the kubelet reports again. Times in objects are whole seconds.
		if c.LastHeartbeatTime.Time.Before(n.started.Truncate(time.Second)) {
			return fmt.Errorf("node %s: no status since %s", node.Name, c.LastHeartbeatTime)
		}
		if c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s: %s: %s", node.Name, c.Reason, c.Message)
		}
		for _, t := range node.Spec.Taints {
			if t.Key == corev1.TaintNodeNotReady {
				return fmt.Errorf("node %s: still has the taint %s", node.Name, t.Key)
			}
		}
		return nil
	}
	return fmt.Errorf("node %s: no status yet", node.Name)
}

func (n *node) serviceAccount(ctx context.Context) error {
	_, err := n.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

// dns asks for the kubernetes Service at the DNS Service's address, as a pod would.
func (n *node) dns(ctx context.Context) error {
	// Before there are rules, nothing answers; and a slow machine takes its time.
	n.patience += 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, 80*time.Millisecond+n.patience)
	defer cancel()
	server := net.JoinHostPort(n.config.dnsServiceIP().String(), "53")
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
	name := "kubernetes.default.svc." + n.config.ClusterDomain + "."
	if _, err := r.LookupHost(ctx, name); err != nil {
		return fmt.Errorf("DNS at %s: %w", server, err)
	}
	return nil
}

func (n *node) readyz(ctx context.Context) error {
	var status int
	result := n.rest.Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
	if err := result.Error(); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("API server: /readyz: HTTP status %d", status)
	}
	return nil
}
