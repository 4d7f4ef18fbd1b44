// Package storage makes persistent volumes out of directories: the default StorageClass of the embedded node, and
// the controller that makes a directory for a claim and removes it, with the data, when the claim is gone.
//
// A volume's directory is its whole state: it has the volume's name, lies directly under Provisioner.Dir, and nothing
// else is ever removed.
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storageapply "k8s.io/client-go/applyconfigurations/storage/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v11/controller"

	"github.com/perch-k8s/perch/internal/node/files"
)

// The names of the provisioner and of its StorageClass, which is the default one.
const (
	ProvisionerName = "perch.dev/local"
	ClassName       = "local"
)

// Provisioner is the controller, as a component.
type Provisioner struct {
	Kubeconfig string
	Dir        string // where the volumes lie
	NodeName   string // the only node: volumes are bound to it

	client kubernetes.Interface
	ready  chan struct{}
}

var _ controller.Provisioner = (*Provisioner)(nil)

// Name is "volumes".
func (*Provisioner) Name() string { return "volumes" }

// Init makes the client and the directory, which is for nobody else: volumes are mounted into pods from it.
func (p *Provisioner) Init(context.Context) error {
	p.ready = make(chan struct{})
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	p.client, err = kubernetes.NewForConfig(config)
	return err
}

// Run makes and removes volumes until ctx ends.
func (p *Provisioner) Run(ctx context.Context) error {
	if err := p.ensureClass(ctx); err != nil {
		return err
	}
	close(p.ready)
	c := controller.NewProvisionController(ctx, p.client, ProvisionerName, p,
		controller.LeaderElection(false),
		controller.MetricsPort(0),
		controller.Threadiness(2),
		// A directory is made or it is not: what failed is tried again soon (the library's default begins at 15 s).
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[any](100*time.Millisecond, 30*time.Second)),
		controller.FailedProvisionThreshold(0),
		controller.FailedDeleteThreshold(0),
	)
	c.Run(ctx)
	<-ctx.Done()
	return nil
}

// Ready waits until the class is there, which is when a claim can be made.
func (p *Provisioner) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("storage class %s: %w", ClassName, ctx.Err())
	}
}

// ensureClass makes the StorageClass. A claim is bound at once: on one node there is no better moment to wait for,
// and the pod need not be scheduled twice.
func (p *Provisioner) ensureClass(ctx context.Context) error {
	class := storageapply.StorageClass(ClassName).
		WithAnnotations(map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}).
		WithProvisioner(ProvisionerName).
		WithReclaimPolicy(corev1.PersistentVolumeReclaimDelete).
		WithVolumeBindingMode(storagev1.VolumeBindingImmediate)
	_, err := p.client.StorageV1().StorageClasses().Apply(ctx, class, metav1.ApplyOptions{FieldManager: "perch-node", Force: true})
	if err != nil {
		return fmt.Errorf("storage class %s: %w", ClassName, err)
	}
	return nil
}

// Provision makes the directory of a volume. Anybody may write into it: pods run as any user, and the container's
// own entry point gives it away where that matters, as with a Docker volume.
func (p *Provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return nil, controller.ProvisioningFinished, fmt.Errorf("storage class %s has no block volumes", ClassName)
	}
	dir, err := p.path(o.PVName)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// Chmod, since Mkdir's mode goes through the umask.
	// On disk before its object is: after a power cut there would be a volume without a directory.
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777), files.SyncDir(p.Dir)); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return p.volume(o, dir), controller.ProvisioningFinished, nil
}

// volume is the PersistentVolume for a directory. It is of the type "local", which the kubelet bind-mounts, rather
// than "hostPath": a security policy that forbids hostPath leaves it alone.
func (p *Provisioner) volume(o controller.ProvisionOptions, dir string) *corev1.PersistentVolume {
	onThisNode := corev1.NodeSelectorRequirement{
		Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.NodeName},
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			MountOptions:                  o.StorageClass.MountOptions,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{onThisNode}}},
			}},
		},
	}
}

// Delete removes a volume's data. It is told by the volume's name alone, not by the path in the object, which
// somebody may have edited.
func (p *Provisioner) Delete(_ context.Context, v *corev1.PersistentVolume) error {
	dir, err := p.path(v.Name)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

var volumeName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

func (p *Provisioner) path(name string) (string, error) {
	if !volumeName.MatchString(name) {
		return "", fmt.Errorf("volume %q: not a name for a directory", name)
	}
	return filepath.Join(p.Dir, name), nil
}
