package up

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/release"
)

// pullSecret is the Secret that the target's pods pull with, made from Docker's login at the target's registry. There is none
// to make when somebody else has made it, nor when this machine has no login and the one of an earlier deploy is there.
func (o Options) pullSecret(ctx context.Context, client *kube.Client, project *compose.Project) ([]runtime.Object, error) {
	name := project.Target.PullSecret
	if name == "" || o.Compose.Embedded {
		return nil, nil
	}
	namespace := namespaceOf(o, project)
	s := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson,
	}
	release.Shared(&s.ObjectMeta, namespace)
	there, err := client.Interface.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	found := err == nil
	switch {
	case found && there.Labels[kube.ComponentLabel] != s.Labels[kube.ComponentLabel]:
		return nil, nil
	case err != nil && !apierrors.IsNotFound(err):
		return nil, client.Explain(fmt.Errorf("pull secret %s: %w", name, err))
	}
	host, _, _ := strings.Cut(o.registry(project), "/")
	if host == "" {
		return nil, fault.New(fault.Usage, "name the target's registry, or make the Secret in its namespace",
			"target %s: pull_secret: there is no Secret %s, and no registry whose login it could hold", project.Target.Name, name)
	}
	login, err := image.PullSecret(host)
	if err != nil && found {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.Data = map[string][]byte{corev1.DockerConfigJsonKey: login}
	return []runtime.Object{s}, nil
}
