package release

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// secrets is a client for Secrets whose requests end with our context: Helm's storage asks with none.
type secrets struct {
	coreclient.SecretInterface
	ctx context.Context //nolint:containedctx // Helm's driver has no way to hand a context in
}

func (s secrets) Get(_ context.Context, name string, o metav1.GetOptions) (*corev1.Secret, error) {
	return s.SecretInterface.Get(s.ctx, name, o)
}

func (s secrets) List(_ context.Context, o metav1.ListOptions) (*corev1.SecretList, error) {
	return s.SecretInterface.List(s.ctx, o)
}

func (s secrets) Create(_ context.Context, secret *corev1.Secret, o metav1.CreateOptions) (*corev1.Secret, error) {
	return s.SecretInterface.Create(s.ctx, secret, o)
}

func (s secrets) Update(_ context.Context, secret *corev1.Secret, o metav1.UpdateOptions) (*corev1.Secret, error) {
	return s.SecretInterface.Update(s.ctx, secret, o)
}

func (s secrets) Delete(_ context.Context, name string, o metav1.DeleteOptions) error {
	return s.SecretInterface.Delete(s.ctx, name, o)
}
