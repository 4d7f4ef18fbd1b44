package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/yaml"
)

// run runs a command in a pod's first container and returns what it prints. An exit code that is not 0 is an error with it.
func (n *node) run(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	request := n.api.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(n.config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var out, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &stderr})
	if err != nil {
		return out.String(), fmt.Errorf("%s in %s/%s: %w: %s", strings.Join(command, " "), namespace, pod, err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), nil
}

// reaches tells why a pod cannot connect to an address, which has its port.
func (n *node) reaches(ctx context.Context, namespace, pod, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, err = n.run(ctx, namespace, pod, "sh", "-c", "nc -w 2 "+host+" "+port+" </dev/null")
	return err
}

// namespace makes a namespace with labels.
func (n *node) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	one := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := n.api.CoreV1().Namespaces().Create(t.Context(), one, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pod makes a pod of busybox with this specification, as YAML, and waits until it is ready. It returns its address.
func (n *node) pod(t *testing.T, namespace, name, spec string) string {
	t.Helper()
	n.startPod(t, namespace, name, spec)
	return n.podReady(t, namespace, name)
}

func (n *node) startPod(t *testing.T, namespace, name, spec string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	pod.Spec.TerminationGracePeriodSeconds = new(int64(0))
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.Name, c.Image, c.ImagePullPolicy = orElse(c.Name, "main"), orElse(c.Image, "busybox:1.36"), corev1.PullNever
	}
	eventually(t, 10*time.Second, "a pod can be made", func(ctx context.Context) error { // the namespace's service account comes soon
		_, err := n.api.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
}

func (n *node) podReady(t *testing.T, namespace, name string) (address string) {
	t.Helper()
	eventually(t, 60*time.Second, namespace+"/"+name+" is ready", func(ctx context.Context) error {
		p, err := n.api.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !podReady(*p) {
			return fmt.Errorf("it is %s: %+v", p.Status.Phase, p.Status.ContainerStatuses)
		}
		address = p.Status.PodIP
		return nil
	})
	return address
}

// nft runs nft where the node's rules are.
func (n *node) nft(t *testing.T, args ...string) string {
	t.Helper()
	pid := n.part(t, "kubernetes").pid
	out, err := exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "nft"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
