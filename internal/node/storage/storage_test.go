package storage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
	"github.com/perch-k8s/perch/internal/node/storage"
)

// eventually waits until a condition holds, and says what was last seen when it does not.
func eventually(t *testing.T, what string, holds func() (bool, any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := holds()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: never; last seen %v", what, seen)
		}
	}
}

// run runs a provisioner on a real API server until the test ends.
func run(t *testing.T, kubeconfig, dir string) kubernetes.Interface {
	t.Helper()
	p := &storage.Provisioner{Kubeconfig: kubeconfig, Dir: dir, NodeName: "node-1"}
	if err := p.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func claim(name string, mode corev1.PersistentVolumeMode) *corev1.PersistentVolumeClaim {
	class := storage.ClassName
	return &corev1.PersistentVolumeClaim{
		// The controller of volumes, which does not run here, would write this.
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": storage.ProvisionerName}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			VolumeMode:       &mode,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func TestProvisioner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volumes")
	client := run(t, apitest.Start(t), dir)
	ctx := t.Context()

	t.Run("its class is the default", func(t *testing.T) {
		class, err := client.StorageV1().StorageClasses().Get(ctx, storage.ClassName, metav1.GetOptions{})
		if err != nil || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" {
			t.Errorf("class %v: %v", class, err)
		}
	})

	var volume *corev1.PersistentVolume
	t.Run("a claim gets a directory that any user can write to", func(t *testing.T) {
		if _, err := client.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim("data", corev1.PersistentVolumeFilesystem), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a volume", func() (bool, any) {
			list, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err != nil || len(list.Items) != 1 {
				return false, err
			}
			volume = &list.Items[0]
			return true, nil
		})
		if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != dir {
			t.Fatalf("volume %v", volume.Spec)
		}
		if info, err := os.Stat(volume.Spec.Local.Path); err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v, %v", volume.Spec.Local.Path, info, err)
		}
	})

	if volume == nil {
		t.FailNow()
	}
	t.Run("the data goes when the volume is released", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(volume.Spec.Local.Path, "row"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		volume.Status.Phase = corev1.VolumeReleased // no controller of volumes runs here
		if _, err := client.CoreV1().PersistentVolumes().UpdateStatus(ctx, volume, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "an empty folder of volumes", func() (bool, any) {
			entries, err := os.ReadDir(dir)
			return err == nil && len(entries) == 0, entries
		})
	})

	t.Run("a claim of a block device is refused, and says so", func(t *testing.T) {
		if _, err := client.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim("block", corev1.PersistentVolumeBlock), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "an event", func() (bool, any) {
			list, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=block,reason=ProvisioningFailed"})
			return err == nil && len(list.Items) > 0, err
		})
	})
}

func TestDeleteRemovesNothingElse(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "volumes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &storage.Provisioner{Dir: dir}
	for _, name := range []string{"..", ".", "", "../volumes", "a/b", "/etc"} {
		if err := p.Delete(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}); err == nil {
			t.Errorf("volume %q was deleted", name)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
