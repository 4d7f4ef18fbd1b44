package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// claimed is a claim that names no storage class, and a pod that writes to it as a user that is not root.
const claimed = `
apiVersion: v1
kind: Namespace
metadata: {name: storage}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: storage}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: storage}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
  containers:
  - name: writer
    image: busybox:1.36
    command: [sh, -c, "echo perch-was-here > /data/file"]
    volumeMounts: [{name: data, mountPath: /data}]
`

// testStorage asks for a volume as any chart does.
func testStorage(t *testing.T, n *node) {
	n.want(t, 0, command{args: []string{"kubectl", "apply", "-f", "-"}, stdin: strings.NewReader(claimed)})
	eventually(t, 60*time.Second, "the pod has written", func(ctx context.Context) error {
		pod, err := n.api.CoreV1().Pods("storage").Get(ctx, "writer", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	t.Run("the claim is bound", func(t *testing.T) {
		claim, err := n.api.CoreV1().PersistentVolumeClaims("storage").Get(t.Context(), "data", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
			t.Errorf("it is %s", claim.Status.Phase)
		}
	})
	t.Run("the data is in the node's folder, and goes with the claim", func(t *testing.T) {
		if files := n.volumeFiles("file"); len(files) != 1 {
			t.Errorf("the files are %v", files)
		}
		n.perch(t, "", "kubectl", "delete", "namespace", "storage")
		eventually(t, 30*time.Second, "the files are gone", func(context.Context) error {
			if files := n.volumeFiles("file"); len(files) > 0 {
				return fmt.Errorf("there still are %v", files)
			}
			return nil
		})
	})
}

// volumeFiles are the files of that name in the cluster's volumes, as the host sees them.
func (u *user) volumeFiles(name string) []string {
	var files []string
	_ = filepath.WalkDir(filepath.Join(u.folder(), "volumes"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			files = append(files, path)
		}
		return nil
	})
	return files
}
