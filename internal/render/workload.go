package render

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/perch-k8s/perch/internal/compose"
)

// historyLimit is how many old ReplicaSets a Deployment keeps.
const historyLimit = 10

// workload is one service on its way to become objects.
type workload struct {
	*builder
	service   types.ServiceConfig
	extension compose.ServiceExtension
	name      string
	image     Image
	ports     []containerPort
}

// kind is what a service becomes in Kubernetes.
type kind int

const (
	deployment  kind = iota
	statefulSet      // it has a named volume
	daemonSet        // deploy.mode: global
	oneShot          // a Job: another service waits for its end, or deploy.mode: replicated-job
)

func (w workload) kind() kind {
	mode := ""
	if w.service.Deploy != nil {
		mode = w.service.Deploy.Mode
	}
	switch {
	case mode == "replicated-job" || (!restartsAlways(w.service) && w.isAwaited()):
		return oneShot
	case mode == "global":
		return daemonSet
	case slices.ContainsFunc(w.service.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeVolume && v.Source != ""
	}):
		return statefulSet
	}
	return deployment
}

// restartsAlways tells whether the file has a container restarted after it ended well. Compose's default is "no".
func restartsAlways(s types.ServiceConfig) bool {
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		return s.Deploy.RestartPolicy.Condition == "any" || s.Deploy.RestartPolicy.Condition == ""
	}
	return s.Restart == types.RestartPolicyAlways || s.Restart == types.RestartPolicyUnlessStopped
}

// isAwaited tells whether another service waits for this one to end.
func (w workload) isAwaited() bool {
	for _, other := range w.project.Project.Services {
		if other.DependsOn[w.service.Name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	for _, job := range w.project.Jobs {
		if job.DependsOn[w.service.Name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// pod is the pod of the service with its ports, probes, hooks and resources.
func (w workload) pod() (podParts, error) {
	s := w.service
	parts, err := w.builder.pod(runs{
		of: s.Name, container: w.name, spec: s.ContainerSpec, image: w.image, extension: w.extension, tty: s.Tty, stdin: s.StdinOpen,
	})
	if err != nil {
		return podParts{}, err
	}
	c := &parts.spec.Containers[0]
	c.Resources = resources(s)
	if err := w.initContainers(&parts); err != nil {
		return podParts{}, err
	}
	if w.kind() == oneShot {
		parts.spec.RestartPolicy = corev1.RestartPolicyNever
		return parts, nil
	}
	for _, p := range w.ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: p.name, ContainerPort: p.port, Protocol: p.protocol})
	}
	c.ReadinessProbe, c.LivenessProbe, c.StartupProbe = w.probes()
	if w.drains() {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: drainSeconds}}}
		*parts.spec.TerminationGracePeriodSeconds += drainSeconds
	}
	return parts, nil
}

// drains tells whether a pod serves on for a moment when it is going to be stopped. The pods of a StatefulSet are stopped
// before their successors start, so there it would only be a longer gap.
func (w workload) drains() bool { return len(w.ports) > 0 && w.kind() != statefulSet }

func (w workload) replicas() int32 { return int32(min(w.service.GetScale(), 1<<20)) } //nolint:gosec // bounded

// objects are what the release of the service holds.
func (w workload) objects(parts podParts) []runtime.Object {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: w.labels(w.name), Annotations: map[string]string{annotationName: w.service.Name}},
		Spec:       parts.spec,
	}
	w.userLabels(&template.ObjectMeta)
	objects := w.services()
	switch w.kind() {
	case oneShot:
		return append(objects, w.oneShot(template))
	case daemonSet:
		objects = append(objects, w.daemonSet(template))
	case statefulSet:
		objects = append(objects, w.statefulSet(template))
	default:
		objects = append(objects, w.deployment(template))
	}
	if w.replicas() >= 2 && w.kind() != daemonSet {
		objects = append(objects, w.budget())
	}
	return objects
}

// meta is the metadata of the workload itself: deploy.labels are of the service, not of its containers.
func (w workload) meta() metav1.ObjectMeta {
	m := w.builder.meta(w.name, w.service.Name)
	if w.service.Deploy != nil {
		putLabels(&m, w.service.Deploy.Labels)
	}
	return m
}

func (w workload) deployment(template corev1.PodTemplateSpec) *appsv1.Deployment {
	surge, unavailable := w.rolling()
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: w.meta(),
		Spec: appsv1.DeploymentSpec{
			Replicas:             new(w.replicas()),
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			Template: template,
		},
	}
}

// rolling is how a rollout goes: new pods first, a quarter at a time, none missing; or as update_config has it.
func (w workload) rolling() (surge, unavailable intstr.IntOrString) {
	surge, unavailable = intstr.FromString("25%"), intstr.FromInt32(0)
	if w.service.Deploy == nil || w.service.Deploy.UpdateConfig == nil {
		return surge, unavailable
	}
	u := w.service.Deploy.UpdateConfig
	if u.Parallelism != nil {
		surge = intstr.FromString("100%") // 0 is all at once
		if *u.Parallelism > 0 {
			surge = intstr.FromInt32(int32(min(*u.Parallelism, 1<<20))) //nolint:gosec // bounded
		}
	}
	if u.Order == "stop-first" {
		if u.Parallelism == nil {
			surge = intstr.FromInt32(1)
		}
		return intstr.FromInt32(0), surge
	}
	return surge, unavailable
}

// delay is update_config.delay: how long a new pod must be ready before the next one is replaced.
func (w workload) delay() int32 {
	if w.service.Deploy == nil || w.service.Deploy.UpdateConfig == nil {
		return 0
	}
	return int32(min(seconds(time.Duration(w.service.Deploy.UpdateConfig.Delay)), 1<<20)) //nolint:gosec // bounded
}

func (w workload) statefulSet(template corev1.PodTemplateSpec) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: w.meta(),
		Spec: appsv1.StatefulSetSpec{
			Replicas:             new(w.replicas()),
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			ServiceName:          w.name,
			PodManagementPolicy:  appsv1.ParallelPodManagement,
			Template:             template,
		},
	}
}

func (w workload) daemonSet(template corev1.PodTemplateSpec) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: w.meta(),
		Spec: appsv1.DaemonSetSpec{
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			Template:             template,
		},
	}
}

// oneShot is a Job. A Job cannot be changed, so its name says what it is: an edit makes a new one.
func (w workload) oneShot(template corev1.PodTemplateSpec) *batchv1.Job {
	meta := w.meta()
	meta.Name = compose.NameWithin(w.name, 52) + "-" + hash10(template)
	count := max(w.replicas(), 1)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			BackoffLimit: new(w.backoff()),
			Completions:  &count,
			Parallelism:  &count,
			Template:     template,
		},
	}
}

// backoff is how often a Job is tried again: as often as restart says.
func (w workload) backoff() int32 {
	const unlimited = 6 // what Kubernetes does when not told; Compose would try for ever
	if d := w.service.Deploy; d != nil && d.RestartPolicy != nil {
		if d.RestartPolicy.Condition == "none" {
			return 0
		}
		if d.RestartPolicy.MaxAttempts != nil {
			return int32(min(*d.RestartPolicy.MaxAttempts, 1<<20)) //nolint:gosec // bounded
		}
		return unlimited
	}
	policy, limit, _ := strings.Cut(w.service.Restart, ":")
	if policy != types.RestartPolicyOnFailure {
		return 0
	}
	if n, ok := number(limit); ok {
		return n
	}
	return unlimited
}

// budget lets a drain of a node take one pod at a time.
func (w workload) budget() *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: w.builder.meta(w.name, w.service.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one,
			Selector:       &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
		},
	}
}

// userLabels puts labels: and annotations: of the service on its pods.
func (w workload) userLabels(m *metav1.ObjectMeta) {
	putLabels(m, w.service.Labels)
	for name, value := range w.service.Annotations {
		putAnnotation(m, name, value)
	}
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
