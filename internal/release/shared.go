package release

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/kube"
)

// sharedComponent labels what all services of a project use.
const sharedComponent = "shared"

// Shared makes an object of the namespace one that Wanted.Shared may have: Remove finds it again by its labels.
func Shared(meta *metav1.ObjectMeta, namespace string) {
	meta.Namespace = namespace
	meta.Labels = map[string]string{kube.ProjectLabel: namespace, kube.ComponentLabel: sharedComponent}
}

// share brings what all services use to what it should be. It is done at each deploy, whether a service changes or not: what
// is in it (the login at a registry) gets old by itself.
func share(ctx context.Context, c *kube.Client, w Wanted) error {
	if len(w.Shared) == 0 {
		return nil
	}
	return c.Explain(c.Apply(ctx, in(w.Namespace, w.Shared)))
}

// removeShared removes what Shared has marked.
func (rm *remover) removeShared(ctx context.Context) error {
	secrets := rm.client.Interface.CoreV1().Secrets(rm.namespace)
	list, err := secrets.List(ctx, ours(rm.namespace, sharedComponent))
	if err != nil {
		return err
	}
	refs := make([]Ref, 0, len(list.Items))
	for _, s := range list.Items {
		refs = append(refs, Ref{"Secret", s.Name})
	}
	return rm.client.Delete(ctx, objectsOf(rm.namespace, refs))
}
