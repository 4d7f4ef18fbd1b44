package release

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/perch-k8s/perch/internal/kube"
)

// others are the kinds of objects of releases that nothing else of the snapshot tells of. They are looked for only where an
// installed release has one.
func others() map[string]schema.GroupVersionResource {
	in := func(group, version, plural string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
	}
	const networking, gateway, rbac = "networking.k8s.io", "gateway.networking.k8s.io", "rbac.authorization.k8s.io"
	return map[string]schema.GroupVersionResource{
		"Ingress":                 in(networking, "v1", "ingresses"),
		"NetworkPolicy":           in(networking, "v1", "networkpolicies"),
		"HTTPRoute":               in(gateway, "v1", "httproutes"),
		"GRPCRoute":               in(gateway, "v1", "grpcroutes"),
		"HorizontalPodAutoscaler": in("autoscaling", "v2", "horizontalpodautoscalers"),
		"PodDisruptionBudget":     in("policy", "v1", "poddisruptionbudgets"),
		"ServiceAccount":          in("", "v1", "serviceaccounts"),
		"Role":                    in(rbac, "v1", "roles"),
		"RoleBinding":             in(rbac, "v1", "rolebindings"),
		"ServiceMonitor":          in("monitoring.coreos.com", "v1", "servicemonitors"),
	}
}

// observeOthers lists the objects of those kinds that the installed releases have. A kind that may not be listed is taken for
// whole; one that the cluster no longer knows has none.
func (o *Observed) observeOthers(ctx context.Context, c *kube.Client) error {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for kind, resource := range others() {
		if !o.has(kind) {
			continue
		}
		g.Go(func() error {
			list, err := c.Dynamic.Resource(resource).Namespace(o.Namespace).List(ctx, metav1.ListOptions{})
			if apierrors.IsForbidden(err) {
				return nil
			}
			names := map[string]bool{}
			if err == nil {
				for i := range list.Items {
					names[list.Items[i].GetName()] = true
				}
			} else if !apierrors.IsNotFound(err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			o.Others[kind] = names
			return nil
		})
	}
	return g.Wait()
}

// has tells whether an installed release has an object of a kind.
func (o *Observed) has(kind string) bool {
	for _, in := range o.Releases {
		if strings.Contains(in.Manifest, "\nkind: "+kind+"\n") {
			return true
		}
	}
	return false
}
