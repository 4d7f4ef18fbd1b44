package release

import (
	"context"

	"github.com/perch-k8s/perch/internal/kube"
)

// AddKept adds what kept revisions name, of all namespaces: a rollback may bring each of them back.
func AddKept(ctx context.Context, c *kube.Client, u *kube.Used) error {
	all, err := revisions(ctx, c, "")
	if err != nil {
		return c.Explain(err)
	}
	for _, rel := range all {
		for _, o := range documents(rel.Manifest) {
			u.Add(rel.Namespace, o)
		}
	}
	return nil
}
