package cli

import (
	"github.com/perch-k8s/perch/internal/kube"
)

// contextName is the kubeconfig context of the app's cluster: --context, else that of the embedded cluster.
func (a *app) contextName() string {
	return orElse(a.globals.context, a.cluster(nil).Context())
}

// kube is a client for the app's cluster.
func (a *app) kube(namespace string) (*kube.Client, error) {
	return kube.Load(kube.Options{Kubeconfig: a.kubeconfig(), Context: a.contextName(), Namespace: namespace})
}

// selector lets the pods of a project through, and of one service when it is named.
func selector(namespace, service string) string {
	s := "app.kubernetes.io/instance=" + namespace
	if service != "" {
		s += ",app.kubernetes.io/name=" + service
	}
	return s
}
