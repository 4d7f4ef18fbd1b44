package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// The words in an image's name by which the controllers below know what to do.
const (
	brokenImage = "broken" // its pods cannot pull it
	failing     = "fails"  // its Jobs fail
)

// deployment is a service's Deployment as render makes it, as far as matters here.
func deployment(service, image string, replicas int32, config ...string) *appsv1.Deployment {
	selector := map[string]string{"app.kubernetes.io/name": service, "app.kubernetes.io/instance": "shop"}
	notes := map[string]string{kube.ServiceAnnotation: service}
	from := make([]corev1.EnvFromSource, 0, len(config))
	for _, name := range config {
		from = append(from, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name},
		}})
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: service, Labels: selector, Annotations: notes},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector, Annotations: notes},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: service, Image: image, EnvFrom: from}}},
			},
		},
	}
}

// job is a Job as render makes migrations.
func job(name, namespace, component, image string) *batchv1.Job {
	none := int32(0)
	labels := map[string]string{kube.ProjectLabel: namespace, kube.ComponentLabel: component}
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: batchv1.JobSpec{
			BackoffLimit: &none,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers:    []corev1.Container{{Name: "pre-start", Image: image}},
			}},
		},
	}
}

// settings is a ConfigMap of a service, named by hand where render would take a hash.
func settings(name, namespace, service string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{kube.ProjectLabel: namespace, kube.ComponentLabel: "config"},
			Annotations: map[string]string{kube.ServiceAnnotation: service},
		},
		Data: data,
	}
}

// claim is a volume of the project.
func claim(name, namespace, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{kube.ProjectLabel: namespace, kube.ComponentLabel: "volume"},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			},
		},
	}
}

// unit is a service with its chart.
func unit(t *testing.T, service string, objects ...runtime.Object) Unit {
	t.Helper()
	sum := sha256.New()
	c := chart.Chart{Name: "shop-" + service, Version: "0.1.0", Files: []chart.File{{
		Name: "Chart.yaml", Data: []byte("apiVersion: v2\nname: shop-" + service + "\nversion: 0.1.0\n"),
	}}}
	for i, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
		c.Files = append(c.Files, chart.File{Name: fmt.Sprintf("templates/%d.yaml", i), Data: data})
	}
	c.Digest = hex.EncodeToString(sum.Sum(nil))
	return Unit{Service: service, Release: "shop-" + service, Chart: c, Objects: objects}
}

// recorder keeps the events of a run.
type recorder struct {
	mu     sync.Mutex
	events []progress.Event
}

func (r *recorder) Report(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// last is the last status of each thing.
func (r *recorder) last() map[string]progress.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := map[string]progress.Status{}
	for _, e := range r.events {
		if e.Status != progress.Output && e.Status != progress.Warned {
			last[e.ID] = e.Status
		}
	}
	return last
}

// position is the index of the first event about a thing with a status, -1 when there is none.
func (r *recorder) position(id string, status progress.Status) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.events {
		if e.ID == id && e.Status == status {
			return i
		}
	}
	return -1
}

// controllers does in one namespace what controller-manager and kubelets would do, until the test ends: Deployments
// become ready and Jobs complete, unless their image's name says otherwise.
func controllers(t *testing.T, c *kube.Client, namespace string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	deployments := c.Interface.AppsV1().Deployments(namespace)
	jobs := c.Interface.BatchV1().Jobs(namespace)
	start := func(open func(context.Context, metav1.ListOptions) (watch.Interface, error), act func(runtime.Object) error) {
		w, err := open(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer w.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case e, ok := <-w.ResultChan():
					if !ok {
						return
					}
					if e.Type != watch.Added && e.Type != watch.Modified {
						continue
					}
					if err := act(e.Object); err != nil && ctx.Err() == nil {
						t.Logf("controller: %v", err)
					}
				}
			}
		})
	}
	start(deployments.Watch, func(o runtime.Object) error { return actDeployment(ctx, c, o.(*appsv1.Deployment)) })
	start(jobs.Watch, func(o runtime.Object) error { return actJob(ctx, c, o.(*batchv1.Job)) })
}

func actDeployment(ctx context.Context, c *kube.Client, d *appsv1.Deployment) error {
	if d.Status.ObservedGeneration == d.Generation {
		return nil
	}
	d = d.DeepCopy()
	image := d.Spec.Template.Spec.Containers[0].Image
	_, revision, _ := strings.Cut(image, ":")
	bad := strings.Contains(image, brokenImage)
	const note = "deployment.kubernetes.io/revision"
	if d.Annotations[note] != revision {
		return noteRevision(ctx, c, d, note, revision) // comes back as a change
	}
	if bad {
		if err := breakPods(ctx, c, d, revision); err != nil {
			return err
		}
	}
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, AvailableReplicas: n, ReadyReplicas: n,
	}
	if bad {
		d.Status.Replicas, d.Status.UpdatedReplicas = n+1, 1
	}
	_, err := c.Interface.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	return err
}

func noteRevision(ctx context.Context, c *kube.Client, d *appsv1.Deployment, note, revision string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, note, revision)
	_, err := c.Interface.AppsV1().Deployments(d.Namespace).Patch(ctx, d.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// breakPods makes the new ReplicaSet and one pod of it that cannot pull its image.
func breakPods(ctx context.Context, c *kube.Client, d *appsv1.Deployment, revision string) error {
	labels := map[string]string{"pod-template-hash": revision}
	for k, v := range d.Spec.Selector.MatchLabels {
		labels[k] = v
	}
	owner := *metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))
	rs, err := c.Interface.AppsV1().ReplicaSets(d.Namespace).Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + revision, Labels: labels, OwnerReferences: []metav1.OwnerReference{owner},
			Annotations: map[string]string{"deployment.kubernetes.io/revision": revision},
		},
		Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: d.Spec.Template.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = c.Interface.CoreV1().ServiceAccounts(d.Namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	owner = *metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	pods := c.Interface.CoreV1().Pods(d.Namespace)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: rs.Name + "-x", Labels: labels, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       d.Spec.Template.Spec,
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}},
	}}
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

func actJob(ctx context.Context, c *kube.Client, j *batchv1.Job) error {
	if j.DeletionTimestamp != nil || len(j.Status.Conditions) > 0 {
		return nil
	}
	j = j.DeepCopy()
	now := metav1.NewTime(time.Now())
	kinds := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	j.Status.StartTime = &now
	if strings.Contains(j.Spec.Template.Spec.Containers[0].Image, failing) {
		kinds = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
		j.Status.Failed = 1
	} else {
		j.Status.CompletionTime, j.Status.Succeeded = &now, 1
	}
	for _, k := range kinds {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: k, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit",
		})
	}
	_, err := c.Interface.BatchV1().Jobs(j.Namespace).UpdateStatus(ctx, j, metav1.UpdateOptions{})
	return err
}
