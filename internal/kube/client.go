// Package kube speaks to a Kubernetes API server through client-go: it loads kubeconfigs, applies objects, runs Jobs,
// waits for rollouts, follows logs and executes commands in containers. It must not know of Helm, of Compose or of the
// embedded node, and must not read the process's environment: paths and names are given to it.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/fault"
)

// FieldManager is the name under which objects outside of Helm releases are applied.
const FieldManager = "perch"

// Labels and annotations that Perch puts on objects, beside the recommended app.kubernetes.io ones.
const (
	ProjectLabel      = "perch.dev/project"   // namespace name of the project, on what lives outside releases
	ComponentLabel    = "perch.dev/component" // config, migration, job or volume
	ServiceAnnotation = "perch.dev/service"   // the service's name in the Compose file

	nameLabel = "app.kubernetes.io/name" // the service's name in Kubernetes

	// InstanceLabel is the project's namespace; on pods of a chart that is not ours, the release.
	InstanceLabel = "app.kubernetes.io/instance"
)

// Client holds every way of speaking to one cluster. All parts share their connections and one discovery cache.
type Client struct {
	REST      *rest.Config // no client-side throttle; JSON
	Interface kubernetes.Interface
	Dynamic   dynamic.Interface
	Discovery discovery.CachedDiscoveryInterface // in memory, filled at first use
	Mapper    meta.RESTMapper                    // over Discovery

	Context    string // kubeconfig context in use; "" when made from a rest.Config
	Namespace  string // for objects that name none
	Kubeconfig string // the path or path list it was read from
}

// Options say which cluster is meant. Nothing is read from the environment: the caller passes on --kubeconfig, or
// KUBECONFIG, or the default path.
type Options struct {
	Kubeconfig string // a path, or a list of paths as KUBECONFIG holds it; files that are missing are passed over
	Context    string // "" is the current context
	Namespace  string // "" is the context's namespace, else default
}

// Load reads the kubeconfig and makes a client for one of its contexts. It does not call the API server. Its errors
// are of kind fault.Unreachable.
func Load(o Options) (*Client, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(o.Kubeconfig)}
	raw, err := rules.Load()
	if err != nil {
		return nil, fault.New(fault.Unreachable, "look at the file, or name another with --kubeconfig",
			"kubeconfig %s: %w", o.Kubeconfig, err)
	}
	name := o.Context
	if name == "" {
		name = raw.CurrentContext
	}
	if _, ok := raw.Contexts[name]; !ok {
		return nil, unknownContext(name, o.Kubeconfig)
	}
	overrides := &clientcmd.ConfigOverrides{}
	overrides.Context.Namespace = o.Namespace
	loader := clientcmd.NewNonInteractiveClientConfig(*raw, name, overrides, rules)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fault.New(fault.Unreachable, "look at the context: perch kubectl config view",
			"kubeconfig %s: context %q: %w", o.Kubeconfig, name, err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: context %q: %w", o.Kubeconfig, name, err)
	}
	c, err := New(config, namespace)
	if err != nil {
		return nil, err
	}
	c.Context, c.Kubeconfig = name, o.Kubeconfig
	return c, nil
}

func unknownContext(name, kubeconfig string) error {
	if name == "" {
		return fault.New(fault.Unreachable, "start the embedded cluster: perch cluster start",
			"kubeconfig %s: no current context", kubeconfig)
	}
	hint := "see the contexts there are: perch kubectl config get-contexts"
	if cluster, ok := embedded(name); ok {
		hint = startHint(cluster)
	}
	return fault.New(fault.Unreachable, hint, "kubeconfig %s: no context %q", kubeconfig, name)
}

// embedded gives the name of the embedded cluster that a context belongs to: "perch" or "perch-NAME".
func embedded(context string) (cluster string, ok bool) {
	if context == "perch" {
		return "", true
	}
	return strings.CutPrefix(context, "perch-")
}

func startHint(cluster string) string {
	if cluster == "" {
		return "start it: perch cluster start"
	}
	return "start it: perch cluster start " + cluster
}

// New makes a client from a REST configuration, which is copied.
func New(config *rest.Config, namespace string) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the server has priority and fairness; a client-side limit only costs time
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	if namespace == "" {
		namespace = "default"
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	clientset, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	cached := memory.NewMemCacheClient(clientset.Discovery())
	return &Client{
		REST:      config,
		Interface: clientset,
		Dynamic:   dyn,
		Discovery: cached,
		Mapper:    restmapper.NewDeferredDiscoveryRESTMapper(cached),
		Namespace: namespace,
	}, nil
}

// Explain turns the error of a request that found no API server, or one that does not know us, into a fault.Error of
// kind Unreachable. Other errors come back as they are.
func (c *Client) Explain(err error) error {
	if err == nil || fault.KindOf(err) != fault.Other || errors.Is(err, context.Canceled) {
		return err
	}
	_, isURL := errors.AsType[*url.Error](err)
	_, isNet := errors.AsType[net.Error](err)
	switch {
	case apierrors.IsUnauthorized(err):
		return fault.New(fault.Unreachable, "log in again, or fetch the kubeconfig anew",
			"cluster %s does not accept the credentials: %w", c.place(), err)
	case isURL, isNet, errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Unreachable, c.lookHint(), "cluster %s: %w", c.place(), err)
	}
	return err
}
